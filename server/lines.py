"""The lines of ``rounds.jsonl``: what each client did in one round, also those who were not there."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from common.task import SCORES
from server.checks import Update
from server.introduction import Participant
from server.marks import Marks
from server.refusal import TIMED_OUT, Refusal


def asked(participant: Participant, down: int, answer: Update | Refusal | None, timeout: float) -> dict[str, Any]:
    """Return the line of a client that was asked to train.

    Args:
        participant: who was asked.
        down: bytes that it was sent.
        answer: what became of its reply; None: there was none.
        timeout: seconds that replies were waited for.
    """
    line = _line(participant.name, "silent", f"{TIMED_OUT} {timeout:g} s") | {
        "examples": participant.records,
        "bytes_down": down,
    }
    if isinstance(answer, Refusal):
        status = "silent" if answer.lost else "refused"
        line |= {"status": status, "reason": answer.reason, "bytes_up": answer.bytes, "strike": answer.strike}
    elif answer is not None:
        line |= {
            "status": "accepted",
            "reason": "",
            "examples": answer.examples,
            "bytes_up": answer.bytes,
            "metrics": answer.metrics,
            "norm": answer.norm,
        }
    return line


def not_asked(
    names: Sequence[str],
    present: Sequence[Participant],
    listed: Collection[str],
    excluded: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Return a line for every client that was not asked, and for every node that could be none of them.

    Args:
        names: the clients of the description.
        present: the nodes that are connected.
        listed: names of the clients that were asked.
        excluded: as in ``Progress``.
    """
    excuses = {one.name: one for one in reversed(present) if one.problem}
    able = {one.name for one in present if not one.problem}
    told = {one.node for one in present if not one.problem or one.name in excluded}
    lines = []
    for name in names:
        if name in listed:
            continue
        if name in excluded:
            lines.append(_line(name, "excluded", str(excluded[name]["reason"])))
        elif name in able:
            lines.append(_line(name, "absent", "not sampled"))
        elif name in excuses:
            told.add(excuses[name].node)
            lines.append(_line(name, "absent", excuses[name].problem))
        else:
            lines.append(_line(name, "absent", "not connected"))
    # One line a name: a node that claims a name which another one has is told apart by its id.
    return lines + [_line(f"node {one.node}", "absent", one.problem) for one in present if one.node not in told]


def why(line: Mapping[str, Any]) -> str:
    """Return why a round was skipped, with every client's reason."""
    failed = [client for client in line["clients"] if client["status"] != "accepted"]
    reasons = "; ".join(sorted({f"{client['name']}: {client['reason']}" for client in failed}))
    return f"because of {line['reason']}" + (f" ({reasons})" if reasons else "")


def summary(line: Mapping[str, Any], rounds: int) -> str:
    """Return one sentence about a round that has ended, of ``rounds``."""
    accepted = sum(client["status"] == "accepted" for client in line["clients"])
    others = [f"; {client['name']} {client['status']}: {client['reason']}" for client in line["clients"]]
    told = "".join(text for text, client in zip(others, line["clients"], strict=True) if client["status"] != "accepted")
    skipped = f" skipped, {line['reason']}," if line["status"] == "skipped" else ""
    seconds = line["seconds"]
    return (
        f"round {line['round']} of {rounds}:{skipped} {accepted} good updates in {seconds:.1f} s, "
        f"{spoken_score(line)}{told}"
    )


def told_score(marks: Marks) -> dict[str, Any]:
    """Return what a line tells of a model's score on the public split; of Dice also its name and its 95 % interval."""
    told: dict[str, Any] = {"accuracy": marks.mean, "accuracy_records": len(marks)}
    if marks.structures is not None:
        told |= {"score": SCORES["segmentation"], "interval": list(marks.interval)}
    return told


def spoken_score(line: Mapping[str, Any]) -> str:
    """Return a line's score in words: ``"81.2% of public images right"``."""
    if line.get("score", SCORES["classification"]) == SCORES["segmentation"]:
        return f"a mean Dice of {line['accuracy']:.1%} on public images"
    return f"{line['accuracy']:.1%} of public images right"


def _line(name: str, status: str, reason: str) -> dict[str, Any]:
    return {
        "name": name,
        "status": status,
        "reason": reason,
        "examples": 0,
        "bytes_up": 0,
        "bytes_down": 0,
        "accuracy": None,
        "metrics": {},
        "norm": None,
        "strike": False,
        "ignored": 0,
    }
