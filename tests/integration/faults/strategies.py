"""Client strategies of the fault tests: an honest one that waits at gates, and one that is absent in some rounds."""

from pathlib import Path

from torch import nn

from clients.honest import Honest, StrategyError
from common.records import Records
from tests.integration.faults.gates import pass_gate


class Gated(Honest):
    """Honest; before it trains, it waits at the gate ``train-NAME-ROUND`` in the folder ``gates``.

    ``chatty``: it reports a metric that nobody else has.
    """

    honest = True

    def __init__(self, gates: str, chatty: bool = False) -> None:
        self._gates = Path(gates)
        self._more = {"surprise": 1.0} if chatty else {}

    def train(self, model: nn.Module, records: Records) -> dict[str, float]:
        """Wait, then train as anybody."""
        pass_gate(self._gates, f"train-{self.setting.client.name}-{self.setting.round}")
        return super().train(model, records) | self._more


class Absent(Honest):
    """Honest, but refuses to train in the given rounds: what a federation in one process has of a lost client."""

    honest = True

    def __init__(self, rounds: list[int]) -> None:
        self._rounds = rounds

    def train(self, model: nn.Module, records: Records) -> dict[str, float]:
        """Refuse, or train as anybody."""
        if self.setting.round in self._rounds:
            raise StrategyError("it is absent in this round")
        return super().train(model, records)
