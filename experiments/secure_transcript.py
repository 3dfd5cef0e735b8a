"""What a transcript of the secure protocol shows, in sentences."""

from pathlib import Path

from experiments.secure_rounds import silence, with_names
from peers.secure.keys import read_trusted_keys
from peers.secure.transcript import Verified, verify_transcript


def told(file: Path, keys: Path | None = None) -> list[str]:
    """Return what came of a round, as anyone can recompute it.

    Args:
        file: the transcript.
        keys: a folder of public keys that are trusted (``read_trusted_keys``); None: those in the file are taken.

    Raises:
        UserError: as ``verify_transcript`` and ``read_trusted_keys``.
    """
    found = verify_transcript(file, None if keys is None else read_trusted_keys(keys))
    whose = "that of the key below" if keys is None else f"that of its peer's key in {keys}"
    return [
        f"{file}: every signature is {whose}, and what was said belongs together",
        *(
            f"  {name}: key {found.keys.get(peer, 'none: it was excluded before')}"
            for peer, name in found.names.items()
        ),
        *(
            f"cheated: {found.names[one.peer]} {with_names(one.reason, found.names)} ({one.phase})"
            for one in found.culprits
        ),
        *(
            f"as the file has it: {found.names[peer]}: {silence(phase)}"
            for peer, phase in found.silent.items()
            if peer in found.keys
        ),
        *_outcome(found),
    ]


def _outcome(found: Verified) -> list[str]:
    if found.sum is None:
        why = with_names(found.aborted, found.names)
        return [f"aborted: {why}; nobody signs that, so whoever wrote the file may have left messages out"]
    counted = tuple(peer for peer in found.accepted if found.weights[peer])
    left = tuple(peer for peer in found.accepted if peer not in counted)
    trust = ", ".join(f"{found.names[peer]} {found.weights[peer]:.3f}" for peer in counted)
    return [
        f"accepted: the updates of {_names(found, found.accepted)}",
        *([f"of these, left out by the rule: {_names(found, left)}"] if left else []),
        *([f"trust scores: {trust}"] if any(found.weights[peer] != 1 for peer in counted) else []),
        f"signed: the same sum of {found.sum.size} numbers, by {_names(found, found.signed)}"
        + ("" if found.attested else "; too few to be sure that an honest peer is among them"),
    ]


def _names(found: Verified, peers: tuple[int, ...]) -> str:
    return ", ".join(found.names[peer] for peer in peers) or "nobody"
