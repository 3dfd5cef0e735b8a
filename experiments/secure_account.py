"""What a peer of the secure protocol tells of itself when a run is over; it may be hostile, and is read as such."""

import json
from typing import Annotated, Any

from pydantic import Field

from common.config import Experiment
from common.privacy import ENTRIES_PER_ROUND
from common.section import Section
from experiments.peer_account import ACCOUNT_LIMIT, OF_ENTRY, OF_FACTS, Metric, Name, Told, Whole, read_account
from peers.secure.state import SecureState
from peers.wire import RefusedError

_OF_ROUND = 3_000


class OwnRound(Section):
    """What only the peer itself knows of a round."""

    round: Whole
    examples: Whole
    metrics: Annotated[dict[Name, Metric], Field(max_length=50)]
    bytes_up: Whole
    bytes_down: Whole


class SecureAccount(Told):
    """All of it."""

    lines: tuple[OwnRound, ...]

    def own(self) -> dict[int, dict[str, Any]]:
        """Return round → what to add to this peer's line of it (``experiments.secure_rounds.own_part``)."""
        return {
            line.round: {
                "accuracy": None,
                "norm": None,
                "local_updates": int(line.examples > 0),
                **line.model_dump(exclude={"round"}),
            }
            for line in self.lines
        }


def secure_account_limit(experiment: Experiment) -> int:
    """Return how many bytes the longest account of a run can have."""
    return min(ACCOUNT_LIMIT, OF_FACTS + (_OF_ROUND + OF_ENTRY * ENTRIES_PER_ROUND) * experiment.federation.rounds)


def encode_secure_account(facts: dict[str, Any], state: SecureState) -> bytes:
    """Return what a peer tells of itself; ``facts`` as ``experiments.peer_account.Facts``."""
    told = ("examples", "metrics", "bytes_up", "bytes_down")
    lines = [
        {"round": line["round"], **{key: line["own"][key] for key in told}} for line in state.lines if line.get("own")
    ]
    account = {"facts": facts, "ledger": state.ledger, "lines": lines}
    return json.dumps(account, sort_keys=True, ensure_ascii=False).encode(errors="replace")


def decode_secure_account(told: bytes, sender: str, number: int, experiment: Experiment) -> SecureAccount:
    """Read the account of the peer with this name and number.

    Raises:
        RefusedError: no honest peer tells this of itself.
    """
    account, ledger = read_account(SecureAccount, told, secure_account_limit(experiment), sender, number)
    rounds, numbers = experiment.federation.rounds, [line.round for line in account.lines]
    if numbers != sorted(set(numbers)) or not set(numbers) <= set(range(1, rounds + 1)):
        raise RefusedError("its account tells of rounds that the run does not have, or not one after the other")
    if problem := ledger.problem(rounds):
        raise RefusedError(f"its account cannot be read: its privacy ledger {problem}")
    return account
