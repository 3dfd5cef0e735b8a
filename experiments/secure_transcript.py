"""What a transcript of the secure protocol shows, in sentences."""

from pathlib import Path

from peers.secure.transcript import Verified, verify_transcript


def told(file: Path) -> list[str]:
    """Return what came of a round, as anyone can recompute it. Raises UserError as ``verify_transcript``."""
    found = verify_transcript(file)
    return [
        f"{file}: every signature is that of the key below, and what was said belongs together",
        *(
            f"  {name}: key {found.keys.get(peer, 'none: it was excluded before')}"
            for peer, name in found.names.items()
        ),
        *(f"cheated: {found.names[one.peer]} {one.reason} ({one.phase})" for one in found.culprits),
        *(f"silent, as the file has it: {found.names[peer]} ('{phase}')" for peer, phase in found.silent.items()),
        *_outcome(found),
    ]


def _outcome(found: Verified) -> list[str]:
    if found.sum is None:
        return [f"aborted: {found.aborted}; nobody signs that, so whoever wrote the file may have left messages out"]
    return [
        f"accepted: the updates of {_names(found, found.accepted)}",
        f"signed: the same sum of {found.sum.size} numbers, by {_names(found, found.signed)}"
        + ("" if found.attested else "; too few to be sure that an honest peer is among them"),
    ]


def _names(found: Verified, peers: tuple[int, ...]) -> str:
    return ", ".join(found.names[peer] for peer in peers) or "nobody"
