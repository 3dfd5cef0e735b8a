"""What peers must have in common, and what each may do as it likes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from common.config import Experiment
from peers.agreement import (
    GREETING_LIMIT,
    Images,
    agreement,
    decode_greeting,
    differences,
    digest_of,
    encode_greeting,
)
from peers.wire import RefusedError
from tests.peers.toy_fixture import toy

IMAGES = Images(classes=("normal", "other"), channels=1, image_size=28, mean=(0.25,), std=(0.1,))


def digest(experiment: Experiment, images: Images = IMAGES) -> str:
    return digest_of(agreement(experiment, images))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 2),
        ("model.width", 8),
        ("training.learning_rate", 0.1),
        ("federation.rounds", 4),
        ("federation.norm_limit", 3.0),
        ("federation.strikes_limit", 1),
        ("federation.threads", 2),
        ("peers.order", "shuffled"),
        ("peers.merge", "median"),
        ("clients.0.name", "somebody"),
    ],
)
def test_what_none_may_decide_alone_names_another_run(key: str, value: object) -> None:
    assert digest(toy().change({key: value})) != digest(toy())


def test_the_secure_protocols_sizes_are_none_to_decide_alone_and_no_other_protocols_affair() -> None:
    secure = Experiment.model_validate({"protocol": "secure", "clients": [{"count": 9}]})
    for key, value in (("secure.faults", 1), ("secure.rule", "box-clipping"), ("secure.step_size", 0.5)):
        assert digest(secure.change({key: value})) != digest(secure)
    assert "secure" not in agreement(toy(), IMAGES)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.source", "npz:mine.npz"),
        ("privacy.enabled", True),
        ("clients.0.strategy", "label-flipper"),
        ("clients.0.private", True),
        ("evaluation.records", 3),
        ("thresholds.accuracy", 0.5),
        ("description", "words"),
    ],
)
def test_what_each_decides_for_itself_does_not(key: str, value: object) -> None:
    assert digest(toy().change({key: value})) == digest(toy())


@pytest.mark.parametrize(
    ("key", "value"),
    [("classes", ("normal", "bad")), ("image_size", 32), ("mean", (0.26,)), ("std", (0.2,)), ("task", "segmentation")],
)
def test_other_images_name_another_run(key: str, value: object) -> None:
    assert digest(toy(), IMAGES.model_copy(update={key: value})) != digest(toy())


def test_differences_are_named_with_both_sides() -> None:
    mine, theirs = agreement(toy(), IMAGES), agreement(toy().change({"seed": 2, "model.width": 8}), IMAGES)
    assert differences(mine, mine) == ""
    told = differences(mine, theirs)
    assert told.startswith("seed (here 1, there 2); model (here {")
    assert '"width": 64' in told
    assert '"width": 8' in told


def test_a_greeting_is_read_as_it_was_said() -> None:
    parts = agreement(toy(20), IMAGES)
    for leaving in (False, True):
        text = encode_greeting(parts, leaving)
        assert decode_greeting(text) == (parts, leaving)
        assert len(text) < GREETING_LIMIT / 2


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"\xff\xfe",
        b"[" * 10_000,
        b'{"agreement": {}}',
        b'{"agreement": [], "leaving": true}',
        b'{"agreement": {"seed": 1}, "leaving": true}',
        b'{"agreement": {}, "leaving": 1}',
        json.dumps({"agreement": {str(n): "" for n in range(41)}, "leaving": True}).encode(),
        b" " * (GREETING_LIMIT + 1),
    ],
)
def test_a_greeting_of_another_form_is_refused(text: bytes) -> None:
    with pytest.raises(RefusedError):
        decode_greeting(text)


@given(st.binary(max_size=300))
def test_no_bytes_do_more_than_be_refused(text: bytes) -> None:
    with pytest.raises(RefusedError):
        decode_greeting(text)


def test_a_greeting_cannot_write_on_a_terminal() -> None:
    parts, _ = decode_greeting(encode_greeting({"seed\x1b[31m": "\x1b]0;evil\x07" + "x" * 1000}, False))
    assert parts == {"seed[31m": ("]0;evil" + "x" * 1000)[:200]}


@pytest.mark.parametrize("change", [{"mean": (0.1, 0.2)}, {"std": (0.0,)}, {"channels": 2}, {"classes": ("one",)}])
def test_images_that_cannot_be_are_no_images(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Images.model_validate(IMAGES.model_dump() | change)
