"""Real peers of the secure protocol: processes with certificates and signing keys of their own, on loopback."""

import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import safe_open

from common.config import Experiment, parse
from common.exchange import arrays_of
from experiments.peer_node import initial
from experiments.secure_node import TRANSCRIPTS
from peers.peer import STATE
from peers.secure.state import SecureState, load_secure_state
from tests.integration.peers.peers_fixture import PeerSite

HERE = Path(__file__).parent
STEP = 0.125
"""What a unanimous vote changes a weight by: a number that float32 holds exactly."""


def tiny_secure(names: Sequence[str], **changes: Any) -> Experiment:
    """A description of peers whose votes are known; ``a__b = 1`` changes key ``a.b``."""
    tree = {
        "name": "secure",
        "protocol": "secure",
        "data": {"image_size": 28, "train_records": 12 * len(names), "public_records": 12, "test_records": 12},
        "model": {"width": 4},
        "federation": {"rounds": 3, "round_timeout": 90, "join_timeout": 60},
        "secure": {"rule": "rsa", "step_size": STEP},
        "clients": [{"name": name, "strategy": f"{HERE / 'known_votes.py'}:KnownVotes"} for name in names],
    }
    return parse(tree, "tiny").change({key.replace("__", "."): value for key, value in changes.items()})


class SecureSite(PeerSite):
    """Peers and the folders in which each keeps what it keeps."""

    def kept(self, name: str) -> SecureState | None:
        """What a peer has kept after its last round."""
        template = arrays_of(initial(self.experiment, self.images))
        for file in (self.folder / name / "state").glob(f"*/{STATE}"):
            with safe_open(file, "pt") as opened:
                run = json.loads(opened.metadata()["state"])["run"]
            return load_secure_state(file, name, run, template)
        return None

    def transcript(self, name: str, number: int) -> Path:
        """A peer's transcript of a round."""
        (file,) = (self.folder / name / "state").glob(f"*/{TRANSCRIPTS}/round-{number}.jsonl")
        return file


@contextmanager
def secure_site(folder: Path, experiment: Experiment) -> Iterator[SecureSite]:
    """A site whose processes end with the block."""
    made = SecureSite(folder, experiment, run_name="a test's run")
    try:
        yield made
    finally:
        made.close()


def die_in(phase: str, number: int) -> None:
    """Have this process killed, as by SIGKILL, when it is to speak in a phase of an aggregation."""
    from peers.secure.party import Player

    say = Player.say

    def last_words(self: Player, spoken: str, *arguments: Any) -> Any:
        if (spoken, self.context.round) == (phase, number):
            os.kill(os.getpid(), signal.SIGKILL)
        return say(self, spoken, *arguments)

    Player.say = last_words  # type: ignore[method-assign]
