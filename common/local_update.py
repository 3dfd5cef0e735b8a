"""A local update as a function's argument and value: what a peer's training is given, and what comes of it."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Job:
    """What one local update starts from; whoever carries it out needs nothing else of the protocol.

    Attributes:
        number: the peer's position among the clients of the description, from 0; also the partition that it holds.
        version: the version that the update makes, from 1; seeds depend on it as on a server's round.
        arrays: the weights to start from, name → tensor on the CPU.
        optimizer: the optimiser's state after the peer's last update (``common.optimizer_state``); empty: it starts
            afresh.
    """

    number: int
    version: int
    arrays: dict[str, Tensor]
    optimizer: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Learned:
    """What came of a job.

    Attributes:
        arrays: the peer's own weights now, names and shapes as in the job.
        sent: what its strategy gives to others in their place; the same for an honest peer.
        records: that it trained on.
        metrics: finite numbers by name.
        ledger: its privacy ledger as text (``common.privacy.Ledger.to_json``).
        optimizer: the optimiser's state now; empty where it is not kept.
        seconds: that the training took.
    """

    arrays: dict[str, Tensor]
    sent: dict[str, Tensor]
    records: int
    metrics: dict[str, float]
    ledger: str
    optimizer: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Failed:
    """A job of which nothing came.

    Attributes:
        reason: one sentence.
        ledger: the peer's privacy ledger all the same: what was spent before the failure stays spent.
        seconds: that it took to fail.
    """

    reason: str
    ledger: str
    seconds: float = 0.0
