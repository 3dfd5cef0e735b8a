from pathlib import Path

import pytest
import torch

from common.errors import UserError
from common.folder import RunFolder, read_lines
from server.progress import Progress


def test_everything_comes_back(tmp_path: Path) -> None:
    before = Progress(
        3,
        {"w": torch.arange(4.0)},
        rounds=[{"round": 1, "status": "aggregated"}],
        ledgers={"a": "{}"},
        unconfirmed={"a": [{"round": 3, "noise_multiplier": 1.0, "sampling_rate": 0.1, "steps": 5, "release": ""}]},
        participants={"a": {"name": "a"}},
    )
    before.strike("b", 2, "holds NaN", 1)
    before.save(RunFolder(tmp_path))
    after = Progress.load(RunFolder(tmp_path))
    assert after is not None
    assert torch.equal(after.arrays.pop("w"), before.arrays.pop("w"))
    assert after == before


def test_every_round_comes_back_wherever_it_was_saved_in_between(tmp_path: Path) -> None:
    folder, progress = RunFolder(tmp_path), Progress(0, {"w": torch.zeros(1)})
    for number in (1, 2, 3):
        progress.save_checkpoint(folder)
        progress.round = number
        progress.rounds.append({"round": number, "status": "aggregated", "clients": [{"name": "a", "reason": "“é”"}]})
        progress.save(folder)
        assert list(read_lines(folder.rounds)) == progress.rounds
        after = Progress.load(folder)
        assert after is not None
        assert (after.round, after.rounds) == (number, progress.rounds)
    after.rounds.append({"round": 4})
    after.write_rounds(folder)
    assert list(read_lines(folder.rounds)) == [*progress.rounds, {"round": 4}]


def test_a_client_is_excluded_at_the_limit_and_not_before() -> None:
    progress = Progress(0, {})
    for number in (1, 4):
        progress.strike("a", number, "holds NaN", 3)
    assert progress.excluded == {}
    progress.strike("a", 5, "has shape (1,)", 3)
    assert progress.excluded == {
        "a": {"round": 6, "reason": "3 of its updates were refused (rounds 1, 4, 5), the last: has shape (1,)"}
    }


def test_a_limit_of_one_excludes_at_once() -> None:
    progress = Progress(0, {})
    progress.strike("a", 2, "holds NaN", 1)
    assert progress.excluded["a"]["reason"] == "1 of its updates was refused (round 2), the last: holds NaN"


def test_without_a_checkpoint_there_is_no_progress(tmp_path: Path) -> None:
    assert Progress.load(RunFolder(tmp_path)) is None


def test_a_checkpoint_of_something_else_is_a_sentence(tmp_path: Path) -> None:
    Progress(1, {"w": torch.zeros(1)}).save(RunFolder(tmp_path))
    folder = RunFolder(tmp_path)
    folder.checkpoint.write_bytes(folder.checkpoint.read_bytes().replace(b"unconfirmed", b"somethingel"))
    with pytest.raises(UserError, match=r"holds no progress that can be resumed .*move it aside"):
        Progress.load(folder)


def timed_out(*statuses: str) -> Progress:
    reasons = {"silent": "no reply within 5 s", "accepted": "", "absent": "not connected"}
    rounds = [
        {"round": number, "status": "aggregated", "clients": [{"name": "a", "status": each, "reason": reasons[each]}]}
        for number, each in enumerate(statuses, start=1)
    ]
    return Progress(len(statuses), {}, rounds=rounds)


@pytest.mark.parametrize(
    ("before", "excluded"),
    [
        (("silent", "silent"), True),
        (("silent",), False),
        (("silent", "accepted"), False),
        (("silent", "silent", "accepted", "silent"), False),
        (("absent", "absent"), False),
    ],
)
def test_who_lets_three_rounds_in_a_row_time_out_is_excluded(before: tuple[str, ...], excluded: bool) -> None:
    progress = timed_out(*before)
    progress.exclude_silent("a", len(before) + 1, 3)
    assert ("a" in progress.excluded) == excluded


@pytest.mark.parametrize("content", [b"", b"\x08", b"\xff" * 40, None])
def test_facts_of_a_checkpoint_that_is_torn_or_gone_are_refused_in_a_sentence(
    tmp_path: Path, content: bytes | None
) -> None:
    folder = RunFolder(tmp_path)
    if content is not None:
        folder.checkpoint.write_bytes(content)
    with pytest.raises(UserError, match=r"checkpoint.safetensors holds no progress that can be resumed"):
        Progress.load_facts(folder)
