"""The sections of an experiment's description: each key, its meaning, its limits and its default."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from common.section import Budget, Count, Fraction, Section


class Data(Section):
    """Which images, at what size, and how the clients share them."""

    source: str = "phantom"
    """``phantom`` or ``brain`` (synthetic), ``cifar10``, ``pneumonia``, ``npz:FILE``, ``folder:DIR``, ``masks:DIR`` or
    ``file.py:function``. ``brain`` and ``masks`` are for segmentation."""
    path: str | None = None
    """Where ``cifar10`` or ``pneumonia`` lie; else ``$PSREVAL_DATA``, then ``./data``."""
    image_size: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Side in pixels; None keeps the source's own (phantom: 32, brain: 64)."""
    classes: Literal[2, 3] = 3
    """For ``pneumonia``: 2 (normal, pneumonia) or 3 (normal, bacterial, viral)."""
    train_records: Count | None = None
    """At most so many, a stratified draw; None takes all (phantom: 2000, brain: 1400)."""
    public_records: Count | None = None
    test_records: Count | None = None
    public_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the training images set aside as public where the source has no public split of its own."""
    partition: str | tuple[Annotated[float, Field(gt=0, le=1_000_000)], ...] = "iid"
    """``iid``, ``dirichlet:ALPHA``, ``by-label:K`` (K classes per client), ``sorted`` (by class, then cut into as many
    parts), or a list of relative sizes. For segmentation bands of the source, such as ages, take the classes' place."""
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    """Seed of the phantom and brain generators, splits and partition; the training has the experiment's seed."""


class Model(Section):
    """Which network."""

    name: str = "resnet9"
    """``resnet9``, ``resnet18``, ``unet`` (segmentation) or ``file.py:function`` (a ``build(channels, classes)``)."""
    width: Annotated[int, Field(ge=4, le=256)] = 64
    """Channels after the first convolution; 64 is the paper's."""


class Training(Section):
    """One client's local training in one round."""

    local_epochs: Count = 1
    batch_size: Count = 64
    optimizer: Literal["nadam", "adam", "sgd"] = "nadam"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """For ``sgd`` only."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class Privacy(Section):
    """DP-SGD, for the clients that train privately."""

    enabled: bool = False
    epsilon: Annotated[float, Field(gt=0)] = 7.0
    """The ε that is to hold for each client's records after all rounds."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    clip_norm: Annotated[float, Field(gt=0)] = 1.2
    noise_multiplier: Annotated[float, Field(ge=0.01, le=10_000)] | None = None
    """Given: used as it is, and the ε that follows is reported. None: calibrated to ``epsilon``."""
    accountant: Literal["prv", "rdp"] = "prv"
    secure_noise: bool = False
    """True: noise and sampling from the operating system's entropy, so a run cannot be repeated bit for bit."""
    physical_batch_size: Count = 128
    """Records whose gradients are held at once; changes memory, not the result."""


class AdversarialTraining(Section):
    """Replace a share of a client's own records by adversarial copies made against the round's global model."""

    attack: str = "pgd"
    fraction: Annotated[Fraction, Field(gt=0)] = 0.2
    eps: Budget = 8 / 255
    step_size: Budget = 2 / 255
    steps: Count = 10


class Misbehaviour(Section):
    """How a peer abuses the peer-to-peer protocol itself, whatever it trains; ``docs/braintorrent.md`` shows each."""

    kind: Literal[
        "version-inflation",
        "count-inflation",
        "sign-flip",
        "scaling",
        "stale-replay",
        "silent",
        "slow",
        "garbage",
        "out-of-range",
        "wrong-shares",
        "wrong-checks",
        "wrong-sum",
        "equivocation",
        "false-complaints",
    ]
    """Under ``braintorrent``, what it answers: a version that rises without training, more records than it has, its
    update negated or scaled, its first model under new versions, nothing, everything late, or random bytes. Under
    ``secure``: ``silent``, or the last six: numbers that the rule does not allow, shares on no polynomial, wrong
    numbers in the checks or of the sum, one thing to some and another to others, complaints without a cause."""
    factor: Annotated[float, Field(gt=0, le=1e9)] = 10.0
    """``count-inflation``: times its records; ``sign-flip`` and ``scaling``: times its update."""
    seconds: Annotated[float, Field(ge=0, le=86_400)] = 3600.0
    """``slow``: how late it answers."""


class Client(Section):
    """One participant, or ``count`` alike."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9 _.-]{0,39}$")] | None = None
    """None: ``client-1``, ``client-2`` …"""
    count: Count = 1
    strategy: str = "honest"
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the strategy, e.g. ``{attack = "pgd", fraction = 0.4}``; ``psreval list clients`` shows them."""
    private: bool | None = None
    """Train with DP-SGD? None follows ``privacy.enabled``; a malicious client may say false and ignore it."""
    adversarial_training: AdversarialTraining | None = None
    """Independent of the strategy: also a poisoner may do it."""
    misbehaviour: Misbehaviour | None = None
    """Only where there is no server: how this peer abuses the protocol. Independent of the strategy, too."""


class ServerMisbehaviour(Section):
    """How a server cheats all its clients, to show that they must believe it."""

    kind: Literal["wrong-mean", "stale", "garbage"]
    """What it returns in place of the global model that its rule made: the former one, moved against the rule's step;
    the former one; or noise, as wide as each array of the right one."""
    factor: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """``wrong-mean``: times the step, whose sign is flipped."""


class Federation(Section):
    """The rounds and what the server does in them."""

    rounds: Count = 3
    aggregation: str = "fedavg"
    """``psreval list aggregation``, ``flower:CLASS`` for one of Flower's own, or ``file.py:Class`` (a ``Strategy``)."""
    aggregation_options: dict[str, Any] = Field(default_factory=dict)
    quorum: Annotated[int, Field(ge=1)] | None = None
    """Good updates that a round needs; fewer: the round is skipped. None: half of the clients."""
    join_timeout: Annotated[float, Field(gt=0)] = 300.0
    """Seconds that the first round waits for all clients, and a later one for as many as the quorum to come back."""
    round_timeout: Annotated[float, Field(gt=0)] = 3600.0
    """Seconds that a round waits for replies."""
    skipped_rounds_limit: Annotated[int, Field(ge=0)] = 3
    """The run ends with an error after more skipped rounds in a row than this."""
    examples_limit: Count | None = None
    """A client that claims more records than this is refused. None: the records of the whole training split; where the
    server has none, what each client announced."""
    norm_limit: Annotated[float, Field(gt=0)] | None = None
    """An update whose weights lie farther than this from the global ones (L2 over all parameters) is refused. None: no
    limit; ``rounds.jsonl`` tells each accepted update's norm, to choose one by."""
    strikes_limit: Count = 3
    """A client whose updates were refused so many times is excluded for the rest of the run."""
    update_compression: Literal["none", "int8"] = "none"
    """``int8``: clients send their updates in 8 bits a weight, with error feedback; a quarter of the bytes."""
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    """Threads of one client's training. Floating-point sums depend on it, so it belongs to the description."""
    server_misbehaviour: ServerMisbehaviour | None = None
    """Only where there is a server: how it cheats. No client can prove it, for none knows the others' updates."""


class Peers(Section):
    """A federation without a server; read only where ``protocol`` is not ``server``.

    ``federation.rounds`` counts local updates a peer, on average: N peers train once each, then (rounds - 1) · N local
    updates follow, each begun by an initiator. ``federation.strikes_limit`` and ``norm_limit`` hold between peers, too.
    """

    order: Literal["random", "shuffled", "timers"] = "random"
    """Who initiates: anyone by seed (the paper); each peer once a round, in an order by seed; or each peer on its own
    random timer, which only real processes have and nobody can repeat."""
    initiators: Count = 1
    """Peers that update at the same time, each from what was there before; 1 is the paper's. More can train in
    parallel."""
    merge: str = "mean"
    """``mean`` (weighted by records), ``alone`` (nothing is merged), or a hardened rule: ``median``, ``trimmed-mean``,
    ``krum``, ``norm-clipping``, ``centered-clipping``, all around the peer's own model."""
    merge_options: dict[str, Any] = Field(default_factory=dict)
    denominator: Literal["participants", "all"] = "participants"
    """Of the sample-weighted mean: the records of those that are merged (the paper), or of all peers, the merging
    peer's own model standing in for those that have nothing new."""
    keep_optimizer: bool = True
    """Each peer's optimiser goes on from its last local update; false: it starts afresh in each."""
    records_limit: Count | None = None
    """No claimed number of records counts for more than this; None: all are believed."""
    refuse_repeats: bool = False
    """Refuse a model that is the one merged last from the same peer, under a new version."""
    ping_timeout: Annotated[float, Field(gt=0)] = 5.0
    """Seconds that a peer waits for another's version."""
    pull_timeout: Annotated[float, Field(gt=0)] = 60.0
    """Seconds that a peer waits for another's model."""
    turn_timeout: Annotated[float, Field(gt=0)] = 600.0
    """Seconds that a peer waits for those before it in the order; then it goes on without them."""
    timer_seconds: Annotated[float, Field(gt=0)] = 30.0
    """``order = "timers"``: mean of the exponential time between a peer's local updates."""


_READ_BY = {
    "step_size": ("rsa",),
    "radius": ("box-clipping", "median"),
    "norm": ("norm-bounded-mean", "multi-krum"),
    "num_malicious_nodes": ("multi-krum",),
    "votes": ("median",),
}
"""Key of ``Secure`` → the rules that read it."""


class Secure(Section):
    """A federation without a server in which aggregators may cheat, too; read only where ``protocol = "secure"``."""

    rule: Literal["rsa", "box-clipping", "norm-bounded-mean", "fltrust", "multi-krum", "median"] = "rsa"
    """``rsa``: each peer votes for a direction, weight by weight. ``box-clipping``: each weight of an update counts for
    at most ``radius``. ``norm-bounded-mean``: an update counts for at most ``norm``. ``fltrust``: it counts as far as
    it points where that of the public records points. ``multi-krum``: the mean of those that are nearest together, each
    of at most ``norm``. ``median``: weight by weight, by ``votes`` votes."""
    step_size: Annotated[float, Field(gt=0)] = 1e-3
    """``rsa``: what a unanimous vote changes a weight by."""
    radius: Annotated[float, Field(gt=0)] = 1e-2
    """``box-clipping`` and ``median``: the largest change of a weight that a peer can ask for."""
    norm: Annotated[float, Field(gt=0)] = 1.0
    """``norm-bounded-mean`` and ``multi-krum``: the Euclidean norm that an update counts for at most."""
    num_malicious_nodes: Annotated[int, Field(ge=0)] | None = None
    """``multi-krum``: updates that may be malicious, whoever deals them; None: as many as the number of updates
    allows."""
    votes: Annotated[int, Field(ge=1, le=16)] = 8
    """``median``: after so many it is known to radius / 2^votes."""
    members: Count | None = None
    """Peers that are drawn in each round to hold the shares of all; None: all are."""
    faults: Annotated[int, Field(ge=0)] | None = None
    """Peers that may cheat in any way without changing the result; one that is silent counts half. None: as many as the
    peers withstand together with as large a coalition, (peers - 1) // 4."""
    coalition: Count | None = None
    """Peers that may put together all that they see without learning anything of another's update; None: ``faults``,
    and at least 1."""

    @model_validator(mode="after")
    def _read_by_the_rule(self) -> "Secure":
        for key, rules in _READ_BY.items():
            if self.rule not in rules and getattr(self, key) != type(self).model_fields[key].default:
                told = " and ".join(f"'{rule}'" for rule in rules)
                raise ValueError(f"{key} = {getattr(self, key)} is for rule = {told}; '{self.rule}' does not read it")
        return self

    @field_validator("rule", mode="before")
    @classmethod
    def _can_be_computed(cls, rule: object) -> object:
        if rule == "trimmed-mean":
            raise ValueError(
                "an exact trimmed mean needs to sort, about 10⁹ secure comparisons for 10⁶ weights of 100 peers; take "
                "'median', or 'box-clipping'"
            )
        return rule


class Compression(Section):
    """int8 post-training quantization."""

    calibration: Literal["minmax", "histogram"] = "minmax"
    calibration_records: Annotated[int, Field(ge=8)] = 256
    activation_bits: Literal[7, 8] | None = None
    """None: 7 where the processor's 8-bit products saturate (no VNNI), else 8."""


class Generator(Section):
    """A federation whose model crafts the images of a transfer attack; trained first if it is not in the store."""

    name: str
    experiment: str | None = None
    """Another description's file; None: this same description."""
    changes: dict[str, Any] = Field(default_factory=dict)
    """Dotted keys to change in it, e.g. ``{"seed" = 2, "privacy.enabled" = false}``."""


class Evaluation(Section):
    """Against whom the model is scored, and how hard."""

    threats: tuple[Literal["white-box", "insider", "transfer", "query"], ...] = ("white-box", "insider", "query")
    attacks: tuple[str, ...] = ("fgsm", "pgd")
    """Gradient attacks of the white-box, insider and transfer threats; the worst of them counts, image by image."""
    query_attacks: tuple[str, ...] = ("square",)
    eps: Budget = 8 / 255
    step_size: Budget = 2 / 255
    steps: Count = 10
    queries: Count = 1000
    """Forward passes that a query attack may spend on one image."""
    repeats: Count = 1
    """Repeats of each gradient attack that has a random start; query attacks run once."""
    records: Count | None = None
    """Attack a stratified, seeded draw of so many test images; None: all. Clean scores always use all."""
    query_records: Count | None = None
    """Likewise for query attacks, which cost most; None follows ``records``."""
    stress_records: Count | None = None
    """Images of the extra attacks that look for an attack's failure; None: 100."""
    seed: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    """Seed of the attacked images, of the attacks' random starts and of the extra checks; None: the experiment's.
    Descriptions that differ in the training's seed and agree in this one attack the same images in the same way."""
    generators: tuple[Generator, ...] = ()

    @model_validator(mode="after")
    def _transfer_needs_generators(self) -> "Evaluation":
        names = [generator.name for generator in self.generators]
        if len(set(names)) != len(names):
            raise ValueError("generators must have different names")
        for name in set(names) & {"fp32", "twin", "queries", "query fp32", "query int8", ""}:
            raise ValueError(f"a generator cannot be called '{name}', which results use for something else")
        return self


class Thresholds(Section):
    """What the verdict asks for. Only those that a description states can make ``psreval run`` exit with 1."""

    epsilon: Annotated[float, Field(gt=0)] | None = None
    """private: the worst honest client's ε is at most this (verdict default 8)."""
    robust_accuracy: Fraction | None = None
    """robust: the int8 model's worst-case accuracy (for segmentation: Dice) over all threats is at least this (verdict
    default 0.5)."""
    size_reduction: Fraction | None = None
    """small: the int8 file is smaller than fp32 by at least this (verdict default 0.7)."""
    accuracy: Fraction | None = None
    """useful: the int8 model's clean accuracy, or Dice, is at least this (verdict default 0.7)."""
