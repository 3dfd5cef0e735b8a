"""What the JSON files of a run's folder hold, as types; docs/design.md says who writes them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from common.task_names import Task

Natural = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """A part of a file; keys that a later version adds are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, populate_by_name=True)


class Machine(Part):
    """The processor, cores, memory in GiB and system that a run used."""

    cpu: str = "unknown"
    cores: Natural | None = None
    memory_gib: float | None = None
    system: str = "unknown"
    vnni: bool | None = None


class DataFacts(Part):
    """Where the images come from, and what they are; ``counts`` holds records per stratum by split.

    Strata are the classes, or, where every pixel has a class, the bands that the source gives.
    """

    source: str
    synthetic: bool
    checksum: str
    task: Task = "classification"
    classes: Annotated[list[str], Field(min_length=1)]
    strata: list[str] = []
    channels: Natural
    image_size: Natural
    mean: list[float] = []
    std: list[float] = []
    counts: dict[str, list[Natural]] = {}
    notes: list[str] = []


class Traffic(Part):
    """Bytes that a client sent to the server (up) and received from it (down)."""

    up: Natural = 0
    down: Natural = 0


class Manifest(Part):
    """``manifest.json``: code, packages, machine and data behind a run, seconds by part, bytes by client."""

    psreval: str
    results_version: int
    hash: str
    federation_hash: str = ""
    commit: str | None = None
    versions: dict[str, str] = {}
    machine: Machine = Machine()
    data: DataFacts
    runner: str = "unknown"
    seconds: dict[str, float] = {}
    traffic: dict[str, Traffic] = Field(default={}, alias="bytes")
    started: str = ""
    finished: str | None = None


class ClientShare(Part):
    """The record numbers that one client holds, and how many of each stratum."""

    name: str
    records: list[Natural]
    counts: list[Natural]


class Partition(Part):
    """``partition.json``: who holds which training records."""

    spec: str | list[float]
    seed: int
    clients: list[ClientShare]


class ClientRound(Part):
    """What one client did in one round; ``accuracy`` is its update's, on the public split.

    ``strike`` says of a refused client whether its update was bad; False: it failed, or gave a reason itself.
    """

    name: str
    status: Literal["accepted", "refused", "silent", "absent", "excluded"]
    reason: str = ""
    examples: Natural | None = None
    bytes_up: Natural | None = None
    bytes_down: Natural | None = None
    accuracy: Share | None = None
    metrics: dict[str, float | None] = {}
    norm: float | None = None
    strike: bool | None = None
    ignored: Natural = 0
    local_updates: Natural | None = None
    """Without a server: the local updates that the peer made in this round."""


class Round(Part):
    """A line of ``rounds.jsonl``; ``accuracy`` is the global model's score on the public split, ``score`` its name.

    ``interval`` is that score's 95 % one, where it does not follow from the number of records.
    """

    round: Natural
    status: Literal["aggregated", "skipped"]
    reason: str = ""
    seconds: float | None = None
    accuracy: Share | None = None
    accuracy_records: Natural = 0
    score: str = "accuracy"
    interval: tuple[Share, Share] | None = None
    clients: list[ClientRound] = []
    local_updates: Natural | None = None
    bytes_moved: Natural | None = None
    """Without a server: both of all rounds until now, each transfer counted once."""


class Scoring(Part):
    """A score on the test split with its 95 % interval, over n images."""

    value: Share
    low: Share
    high: Share
    n: Natural


class PeerScore(Scoring):
    """How good one peer's own fp32 model is; its int8 model; and both under white-box attacks, by target."""

    name: str
    honest: bool
    int8: Scoring | None = None
    attacked: dict[str, Scoring] = {}


class PeerScores(Part):
    """``peers.json``: every peer's own model."""

    metric: str
    peers: list[PeerScore]


class LedgerEntry(Part):
    """What one round of private training released."""

    round: Natural
    noise_multiplier: float
    sampling_rate: float
    steps: Natural


class ClientLedger(Part):
    """One client's ledger; ``epsilon`` None: nothing is guaranteed."""

    name: str
    strategy: str
    honest: bool
    private: bool
    records: Natural
    accountant: str | None = None
    delta: float | None = None
    entries: list[LedgerEntry] = []
    epsilon_by_round: list[float | None] = []
    epsilon: float | None


class Ledger(Part):
    """``ledger.json``: every client's ledger, and the ε that holds for all honest ones."""

    clients: list[ClientLedger]
    worst_honest_epsilon: float | None


class Answer(Part):
    """One of the verdict's four answers; ``holds`` None: not decided."""

    holds: bool | None
    value: float | None = None
    threshold: float | None = None
    stated: bool = False
    sentence: str = ""


class Verdict(Part):
    """The four answers."""

    private: Answer
    robust: Answer
    small: Answer
    useful: Answer


class CompressionFacts(Part):
    """What int8 gained and cost: bytes, agreement as shares, latency in ms by runtime and batch size, on so many
    threads."""

    fp32_bytes: Natural | None = None
    int8_bytes: Natural | None = None
    size_reduction: float | None = None
    activation_bits: Natural | None = None
    saturates: bool | None = None
    agreement: dict[str, float | None] = {}
    latency_ms: dict[str, dict[str, float | None]] = {}
    threads: Natural | None = None


class Warned(Part):
    """A reason to doubt the evaluation, or something to read it with."""

    severity: Literal["unreliable", "note"]
    sentence: str


class Evaluated(Part):
    """``evaluation.json``: the verdict and what it stands on."""

    verdict: Verdict
    compression: CompressionFacts
    warnings: list[Warned] = []
    credible: bool
    test_records: Natural
    attacked_records: Natural
    queried_records: Natural | None = None
    """Query attacks are tried on so many of the attacked images; None: a run that did not write it down."""
    unseeing: Share | None = None
    """For segmentation the mean Dice of one mask for all images: each pixel's commonest class."""
