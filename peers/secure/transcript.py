"""What was said in a round, in a file: anyone who knows the peers' public keys can recompute what came of it.

A line of JSON for the round, then one for each message. Nothing in it is secret: shares travel sealed, and of them only
what the protocol makes public is here.
"""

import base64
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from common.errors import UserError
from common.folder import write_text
from peers.secure.ball import ball, bound_for
from peers.secure.broadcast import Board
from peers.secure.columns import Columns
from peers.secure.context import Context
from peers.secure.field import Elements, Field
from peers.secure.hearing import AbortedError, Culprit
from peers.secure.labels import PROTOCOL
from peers.secure.layout import Layout, committee, packed
from peers.secure.messages import Message, is_genuine
from peers.secure.plan import members_of
from peers.secure.rules.trust import FINER
from peers.secure.ruling import Ruling
from peers.secure.terms import SIGNS, Terms

LARGEST_SIZE = 10**9
"""Numbers of an update that a transcript may speak of."""
_NUMBERS = ("peers", "members", "coalition", "faults", "packing", "repetitions")


class _KeyError(Exception):
    """A transcript's keys are not those that are trusted."""


@dataclass(frozen=True, eq=False)
class Verified:
    """What follows from a transcript.

    Attributes:
        names: peer's number → its name.
        keys: peer's number → the public key that its signatures were checked with, in hexadecimal.
        accepted: the peers whose updates passed all checks.
        weights: of these, peer → 1, or its trust score, where its update is in the sum; 0: the rule left it out.
        culprits: who cheated, when, and how that is seen; none whom only the writer of the file may have made one, by
            leaving out what others said last.
        silent: peer → the phase since which it said nothing.
        sum: [size]; None: the round was aborted.
        aborted: why; empty: it was not.
        signed: the peers that signed this same result.
        attested: whether so many signed it that an honest one is among them; of a round that was aborted nobody signs.
    """

    names: Mapping[int, str]
    keys: Mapping[int, str]
    accepted: tuple[int, ...]
    weights: Mapping[int, float]
    culprits: tuple[Culprit, ...]
    silent: Mapping[int, str]
    sum: Elements | None
    aborted: str
    signed: tuple[int, ...]
    attested: bool


def write_transcript(path: Path, ruling: Ruling, boards: Sequence[tuple[str, Board]], names: Mapping[int, str]) -> None:
    """Write what was said in a round, whole or not at all. Raises UserError: a full disk."""
    context, layout = ruling.context, ruling.layout
    head = {
        "protocol": PROTOCOL.decode(),
        "run": context.run.hex(),
        "round": context.round,
        "peers": [
            {
                "number": peer,
                "name": name,
                "key": context.keys[peer].public_bytes_raw().hex() if peer in context.keys else None,
            }
            for peer, name in sorted(names.items())
        ],
        "members": list(ruling.members),
        "layout": {name: getattr(layout, name) for name in _NUMBERS} | {"field": layout.field.bits},
        "size": ruling.columns.size,
        "terms": _terms(ruling.columns.terms),
    }
    lines = [head]
    for phase, board in boards:
        told = [*board.said.values(), *(message for pair in board.twice.values() for message in pair)]
        lines += [
            {"phase": phase, "sender": one.sender, "body": _text(one.body), "signature": _text(one.signature)}
            for one in told
        ]
        lines.append({"phase": phase, "end": True})
    write_text(path, "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))


def verify_transcript(path: Path, keys: Mapping[str, bytes] | None = None) -> Verified:
    """Recompute what came of a round from what was said in it.

    Args:
        path: as ``write_transcript`` wrote it.
        keys: name → public key (32 bytes) of each peer, from a source that is trusted; None: those in the file, which
            shows only that the file is consistent in itself.

    Raises:
        UserError: it is no transcript, a signature is not its sender's, or something was taken out or put in.
    """
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        ruling, names = _round(lines[0], keys)
        boards = list(_boards(lines[1:], ruling.context.keys))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except _KeyError as error:
        raise UserError(f"{path}: {error}") from None
    except (UserError, ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise UserError(f"{path} is not the whole transcript of a round ({type(error).__name__}: {error})") from None
    aborted, place, sure = "", 0, 0
    most = max(1, len(names) - 2 * ruling.layout.faults)
    try:
        for phase, take in ruling.steps():
            if place == len(boards):
                raise UserError(f"{path} ends before the phase '{phase}': it is not the whole transcript")
            told, board = boards[place]
            place += 1
            if told != phase:
                raise UserError(f"{path} has the phase '{told}' where '{phase}' belongs; it has been changed")
            _check_signatures(path, ruling, phase, board)
            if len(board.said) >= most:  # their signatures are on all that was said before
                sure = len(ruling.culprits)
            take(board)
    except AbortedError as why:
        aborted = str(why)
    if place != len(boards):
        raise UserError(f"{path} goes on after the round has ended; it has been changed")
    digest = b"" if aborted else ruling.result_digest()
    signed = () if aborted else tuple(
        peer for peer, message in sorted(boards[-1][1].said.items()) if message.body == digest
    )  # fmt: skip
    attested = len(signed) >= most
    twice = {peer for _, board in boards for peer in board.twice}
    return Verified(
        names=names,
        keys={peer: key.public_bytes_raw().hex() for peer, key in ruling.context.keys.items()},
        accepted=tuple(ruling.dealers),
        weights={peer: ruling.weights.get(peer, 0) for peer in ruling.dealers},
        culprits=tuple(
            one for number, one in enumerate(ruling.culprits) if attested or number < sure or one.peer in twice
        ),
        silent=dict(ruling.silent),
        sum=None if aborted else ruling.result(),
        aborted=aborted,
        signed=signed,
        attested=attested,
    )


def _round(told: Mapping[str, Any], keys: Mapping[str, bytes] | None) -> tuple[Ruling, dict[int, str]]:
    if told["protocol"] != PROTOCOL.decode():
        raise ValueError(f"protocol '{told['protocol']}' instead of '{PROTOCOL.decode()}'")
    names = {int(peer["number"]): str(peer["name"]) for peer in told["peers"]}
    public = {int(peer["number"]): bytes.fromhex(peer["key"]) for peer in told["peers"] if peer["key"] is not None}
    for number, raw in public.items():
        if keys is not None and keys.get(names[number]) != raw:
            raise _KeyError(
                f"the key of '{names[number]}' is not the one that is known: the file is another run's, or somebody "
                "else signed in its name"
                if names[number] in keys
                else f"the key of '{names[number]}' is not known, so nobody can tell who signed in its name"
            )
    if keys is not None and (missing := sorted(keys.keys() - names.values())):
        raise _KeyError(f"'{missing[0]}', whose key is known, is not among its peers")
    if len(set(public.values())) < len(public) or len(set(names.values())) < len(told["peers"]):
        raise ValueError("two peers have the same name, number or key")
    sizes = told["layout"]
    faults, coalition, field = int(sizes["faults"]), int(sizes["coalition"]), Field(int(sizes["field"]))
    if int(sizes["members"]) == len(names):
        layout = packed(len(names), faults=faults, coalition=coalition, field=field)
    else:
        layout = committee(len(names), int(sizes["members"]), faults=faults, coalition=coalition, field=field)
    if any(getattr(layout, name) != sizes[name] for name in _NUMBERS):
        raise ValueError("its layout is not the one of so many peers and faults")
    if not 0 < int(told["size"]) <= LARGEST_SIZE:
        raise ValueError(f"an update of {told['size']} numbers")
    run = bytes.fromhex(told["run"])
    context = Context(
        run, int(told["round"]), {peer: Ed25519PublicKey.from_public_bytes(raw) for peer, raw in public.items()}
    )
    members = members_of(context, layout, len(names))
    if list(told["members"]) != list(members):
        raise ValueError("its members are not those that hold shares in such a round")
    columns = Columns(layout, int(told["size"]), _read_terms(told["terms"], layout, int(told["size"])))
    return Ruling(context, columns, members), names


def _terms(terms: Terms) -> dict[str, Any]:
    """Return what an aggregation asks of updates, for the head."""
    if terms.ball is None:
        return {"numbers": "signs"}
    reference = None if terms.reference is None else _text(terms.reference.astype("<u8").tobytes())
    return {
        "numbers": "ball",
        "bound": terms.ball.bound,
        "reference": reference,
        "distances": terms.distances,
        "malicious": terms.malicious,
    }


def _read_terms(told: Mapping[str, Any], layout: Layout, size: int) -> Terms:
    """Return what ``_terms`` told. Raises ValueError, UserError: it is something else."""
    if told["numbers"] == "signs":
        return SIGNS
    if told["numbers"] != "ball":
        raise ValueError(f"numbers of the kind '{told['numbers']}'")
    bound = bound_for(size) * (1 if told["reference"] is None else FINER)
    if told["bound"] != bound:
        raise ValueError(f"a bound of {told['bound']} for {size} numbers")
    reference, malicious = told["reference"], told["malicious"]
    raw = None if reference is None else layout.field.from_bytes(_bytes(reference), size)
    return Terms(
        ball(layout, size, bound),
        raw,
        bool(told["distances"]),
        None if malicious is None else int(malicious),
    )


def _boards(lines: Sequence[Mapping[str, Any]], peers: Collection[int]) -> Iterator[tuple[str, Board]]:
    messages: dict[int, list[Message]] = {}
    phases: set[str] = set()
    for line in lines:
        phases.add(str(line["phase"]))
        if len(phases) > 1:
            raise ValueError(f"a message of '{max(phases)}' among those of '{min(phases)}'")
        if line.get("end"):
            said = {sender: one[0] for sender, one in sorted(messages.items()) if len(one) == 1}
            twice = {sender: (one[0], one[1]) for sender, one in sorted(messages.items()) if len(one) > 1}
            yield str(line["phase"]), Board(said, twice)
            messages, phases = {}, set()
            continue
        message = Message(int(line["sender"]), _bytes(line["body"]), _bytes(line["signature"]))
        told = messages.setdefault(message.sender, [])
        if message.sender not in peers or len(told) == 2:
            raise ValueError(f"a message of peer {message.sender} that cannot be")
        told.append(message)
    if messages:
        raise ValueError("it ends in the middle of a phase")


def _check_signatures(path: Path, ruling: Ruling, phase: str, board: Board) -> None:
    told = [*board.said.values(), *(message for pair in board.twice.values() for message in pair)]
    for message in told:
        if not is_genuine(ruling.context, phase, ruling.head, message):
            raise UserError(
                f"{path}: what peer {message.sender} said in the phase '{phase}' is not signed by it, or not after all "
                "that the file says was said before; the file has been changed"
            )
    for sender, (one, other) in board.twice.items():
        if one.digest == other.digest:
            raise UserError(
                f"{path}: peer {sender} is said to have said two things in '{phase}', but they are the same"
            )


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
