"""The codec: what goes in comes out, sizes are as the formula says, and what else comes is refused, no more."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load
from torch import Tensor

from peers.wire import (
    LARGEST,
    Parcel,
    Question,
    RefusedError,
    Status,
    decode_parcel,
    decode_question,
    decode_status,
    encode_parcel,
    encode_status,
    parcel_bytes,
    ping,
    pull,
    short,
)

RUN = "0123456789abcdef"
NAME = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9 _.-]{0,39}", fullmatch=True)
COUNT = st.integers(1, LARGEST - 1)
DTYPES = st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8])


@st.composite
def models(draw: st.DrawFn) -> dict[str, Tensor]:
    names = draw(st.lists(st.from_regex(r"[a-z][a-z0-9.]{0,8}", fullmatch=True), min_size=1, max_size=4, unique=True))
    found = {}
    for name in names:
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        values = torch.arange(torch.Size(shape).numel()).reshape(shape) % 7
        found[name] = values.to(draw(DTYPES))
    return found


def model() -> dict[str, Tensor]:
    return {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1.5, -2.0])}


def parcel() -> Parcel:
    return Parcel("north", 3, 40, model())


@settings(max_examples=60, deadline=None)
@given(arrays=models(), sender=NAME, version=COUNT, records=COUNT)
def test_a_model_comes_out_as_it_went_in(arrays, sender, version, records) -> None:
    raw = encode_parcel(Parcel(sender, version, records, arrays), RUN)
    out = decode_parcel(raw, arrays, sender=sender, run=RUN)
    assert (out.sender, out.version, out.records, list(out.arrays)) == (sender, version, records, list(arrays))
    for name, array in arrays.items():
        assert out.arrays[name].dtype == array.dtype
        assert torch.equal(out.arrays[name], array)


@settings(max_examples=60, deadline=None)
@given(arrays=models(), sender=NAME, version=COUNT, records=COUNT)
def test_its_length_is_what_the_formula_says_whatever_the_version(arrays, sender, version, records) -> None:
    raw = encode_parcel(Parcel(sender, version, records, arrays), RUN)
    assert len(raw) == parcel_bytes(arrays, sender, RUN)
    header = int.from_bytes(raw[:8], "little")
    assert header % 8 == 0
    assert len(raw) == 8 + header + sum(array.numel() * array.element_size() for array in arrays.values())


def test_the_safetensors_library_reads_it(tmp_path) -> None:
    raw = encode_parcel(parcel(), RUN)
    out = load(raw)
    assert all(torch.equal(out[name], array) for name, array in model().items())
    (tmp_path / "parcel").write_bytes(raw)
    with safe_open(tmp_path / "parcel", "pt") as file:
        told = file.metadata()
    assert (told["sender"], int(told["version"]), int(told["records"]), told["run"]) == ("north", 3, 40, RUN)


def test_what_it_gives_is_a_copy_that_can_be_trained_on() -> None:
    raw = encode_parcel(parcel(), RUN)
    out = decode_parcel(raw, model(), sender="north", run=RUN)
    out.arrays["b"] += 1
    assert torch.equal(decode_parcel(raw, model(), sender="north", run=RUN).arrays["b"], model()["b"])


def refused(raw: bytes, template: dict[str, Tensor] | None = None, sender: str = "north", run: str = RUN) -> str:
    with pytest.raises(RefusedError) as told:
        decode_parcel(raw, template or model(), sender=sender, run=run)
    return str(told.value)


def test_what_no_honest_peer_sends_is_refused_with_the_reason() -> None:
    good = encode_parcel(parcel(), RUN)
    assert "bytes instead of" in refused(good[:-1])
    assert "bytes instead of" in refused(good + b"x")
    assert "bytes instead of" in refused(b"")
    assert "header of another length" in refused((2**62).to_bytes(8, "little") + good[8:])
    assert "not JSON" in refused(good[:8] + b"\xff" * 30 + good[38:])
    assert "a model of 'north'" in refused(good, sender="south")
    assert "another run" in refused(good, run="f" * 16)
    assert "another run" in refused(encode_parcel(parcel(), "f" * 16))
    bad = Parcel("north", 3, 40, {**model(), "b": torch.tensor([float("nan"), 0.0])})
    assert refused(encode_parcel(bad, RUN)) == "its model is not finite in 'b'"
    status = encode_status(Status(2, 40, 2, False), RUN)
    assert "nothing newer than its version 2" in refused(status)


def test_other_names_shapes_and_types_are_refused_even_where_the_length_is_right() -> None:
    for arrays in (
        {"a.weight": torch.zeros(3, 2), "b": torch.zeros(2)},
        {"a.weight": torch.zeros(2, 3), "c": torch.zeros(2)},
        {"a.weight": torch.zeros(2, 3).int(), "b": torch.zeros(2)},
    ):
        raw = encode_parcel(Parcel("north", 3, 40, arrays), RUN)
        assert len(raw) == parcel_bytes(model(), "north", RUN)
        assert "other names, shapes or types" in refused(raw)


def test_versions_and_records_are_counts() -> None:
    good = encode_parcel(parcel(), RUN)
    for key, value in (("version", 3), ("records", 40)):
        for other in ("0" * 15, "-" + "1" * 14, "1e" + "0" * 13, " " * 15):
            assert f"{key} =" in refused(
                good.replace(f'"{key}":"{value:015d}"'.encode(), f'"{key}":"{other}"'.encode())
            )


@settings(max_examples=200, deadline=None)
@given(raw=st.binary(max_size=400))
def test_any_bytes_are_at_most_refused(raw: bytes) -> None:
    for read in (
        decode_question,
        lambda b: decode_status(b, RUN),
        lambda b: decode_parcel(b, model(), sender="north", run=RUN),
    ):
        with pytest.raises(RefusedError):
            read(raw)


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_one_changed_byte_is_refused_or_still_a_sound_model(place: int, byte: int) -> None:
    raw = bytearray(encode_parcel(parcel(), RUN))
    raw[place % len(raw)] = byte
    told = ""
    try:
        out = decode_parcel(bytes(raw), model(), sender="north", run=RUN)
    except RefusedError as error:
        told = str(error)
    if told:
        assert told.isprintable()
        return
    assert all(torch.isfinite(array).all() for array in out.arrays.values())
    assert 1 <= out.version < LARGEST
    assert 1 <= out.records < LARGEST


@given(newer_than=st.integers(0, LARGEST - 1), before=st.none() | st.integers(0, LARGEST - 1))
def test_questions_come_out_as_they_went_in(newer_than: int, before: int | None) -> None:
    assert decode_question(ping(RUN, before)) == Question(RUN, False, 0, before)
    assert decode_question(pull(RUN, newer_than, before)) == Question(RUN, True, newer_than, before)


@given(version=st.integers(0, LARGEST - 1), records=st.integers(0, LARGEST - 1), done=st.booleans())
def test_a_status_comes_out_as_it_went_in(version: int, records: int, done: bool) -> None:
    status = Status(version, records, version, done)
    assert decode_status(encode_status(status, RUN), RUN) == status


@pytest.mark.parametrize(
    "told",
    [
        {"version": -1}, {"version": 1.0}, {"version": True}, {"version": "1"}, {"version": LARGEST}, {"done": 1},
        {"run": 5}, {"more": 1}, {"records": None},
    ],
)  # fmt: skip
def test_a_status_that_cannot_be_is_refused(told: dict[str, object]) -> None:
    whole = {"run": RUN, "version": 1, "records": 1, "turns": 1, "done": False, **told}
    with pytest.raises(RefusedError):
        decode_status(json.dumps(whole).encode(), RUN)


def test_a_status_as_long_as_a_book_or_of_another_run_is_refused() -> None:
    with pytest.raises(RefusedError, match="at most 1000"):
        decode_status(b" " * 2000, RUN)
    with pytest.raises(RefusedError, match="another run"):
        decode_status(encode_status(Status(1, 1, 1, False), "f" * 16), RUN)
    with pytest.raises(RefusedError, match="not JSON"):
        decode_status(b"[" * 900, RUN)


def test_what_others_wrote_cannot_steer_a_terminal() -> None:
    assert short("a\x1b[31mb\n" + "c" * 300) == "a[31mb" + "c" * 194
