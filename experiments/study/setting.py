"""A setting: where an experiment lies on the axes of the paper's study (Usynin et al. 2022, arXiv 2205.02652)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.config import Experiment
from common.description import Client
from common.tree import KINDS

USES = ("none", "adversarial training", "train-time attack", "both")
"""What adversarial data are used for: nothing, a defence, an attack by a malicious client, or both at once."""
POISONER = "data-poisoner"
DATA = {"cifar10": "CIFAR-10", "pneumonia": "Chest X-rays", "phantom": "Phantom X-rays", "brain": "Brain slices"}
MODELS = {"resnet9": "ResNet-9", "resnet18": "ResNet-18", "unet": "U-Net"}


@dataclass(frozen=True)
class Setting:
    """All axes of a federation and its evaluation but the repeat.

    Attributes:
        data: which images, as a reader knows them.
        model: which network, likewise.
        epsilon: the ε that the honest clients train for; None: they train without privacy.
        use: one of ``USES``, or the name of another strategy that a client follows.
        attack: which attack made the adversarial training data; None where there are none.
        share: how many of *all* training records are adversarial, in [0, 1] (the paper's 10–40 %); None likewise.
            Where both uses meet, attack and share are the malicious client's.
        budget: ``evaluation.eps``, that of the attacks at inference, in units of [0, 1].
    """

    data: str
    model: str
    epsilon: float | None
    use: str
    attack: str | None
    share: float | None
    budget: float

    def privacy(self) -> str:
        """Return ``non-private`` or ``ε = 3.4``."""
        return "non-private" if self.epsilon is None else f"ε = {self.epsilon:g}"


def setting_of(experiment: Experiment) -> Setting:
    """Return where an experiment lies."""
    roster = experiment.roster()
    malicious = [client for client in roster if client.strategy == POISONER]
    trained = [client for client in roster if client.adversarial_training is not None]
    others = [client.strategy for client in roster if client.strategy not in ("honest", POISONER)]
    honest = [client for client in roster if client not in malicious]
    use = USES[(1 if trained else 0) + (2 if malicious else 0)]
    attack, share = None, None
    if malicious:
        attack = _only(str(client.options.get("attack", "pgd")) for client in malicious)
        share = _share(experiment, malicious, lambda client: float(client.options.get("fraction", 0.4)))
    elif trained:
        attack = _only(_table(client).attack for client in trained)
        share = _share(experiment, trained, lambda client: float(_table(client).fraction))
    return Setting(
        data=_data(experiment),
        model=MODELS.get(experiment.model.name, Path(experiment.model.name).name),
        epsilon=experiment.privacy.epsilon if any(map(experiment.is_private, honest)) else None,
        use=others[0] if others else use,
        attack=attack,
        share=None if share is None else round(share, 6),
        budget=experiment.evaluation.eps,
    )


def _data(experiment: Experiment) -> str:
    source = experiment.data.source
    name = source.partition(":")[2] if source.startswith(KINDS) else source
    return DATA.get(source, Path(name).stem)


def _share(experiment: Experiment, clients: list[Client], fraction: Callable[[Client], float]) -> float:
    """Return the share of all training records that these clients make adversarial, sizes as partitioned."""
    roster, partition = experiment.roster(), experiment.data.partition
    sizes = [1.0] * len(roster) if isinstance(partition, str) else list(partition)
    total = sum(sizes)
    return sum(size / total * fraction(client) for size, client in zip(sizes, roster, strict=True) if client in clients)


def _table(client: Client) -> Any:
    return client.adversarial_training


def _only(names: Any) -> str:
    return " and ".join(dict.fromkeys(Path(name).name for name in names))
