"""FAB, Square, AutoAttack and the other attacks of torchattacks 3.3.0, made safe to call.

torchattacks is imported only when one of them runs. What it does by itself and ``craft`` keeps from the caller:
FAB, APGD and Square seed the global generator with a constant at each call; FAB, CW and DeepFool call
``backward`` and leave gradients in the parameters; a model without parameters ends in StopIteration; a change of
mode is printed; a zero gradient becomes NaN in the momentum attacks and in DeepFool.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attacks import fab
from attacks.budget import Norm
from attacks.method import Method, Order
from common.errors import UserError
from common.loading import suggest

PREFIX = "torchattacks:"

AUTOATTACK_STEPS, AUTOATTACK_QUERIES, AUTOATTACK_TARGETS = 100, 5000, 9
"""The published standard version (Croce & Hein 2020, arXiv 2003.01690); torchattacks' own class takes 10 steps."""


@dataclass(frozen=True)
class _Entry:
    """A class of torchattacks: what it is, and where it departs from an L∞ gradient attack that takes eps."""

    summary: str
    norm: Norm | None = "linf"
    minimal: bool = False
    gradients: bool = True
    least_classes: int = 2


_ENTRIES = {
    "APGD": _Entry("PGD that adapts its step, cross-entropy loss (arXiv 2003.01690)"),
    "APGDT": _Entry("PGD that adapts its step, towards each other class (arXiv 2003.01690)", least_classes=4),
    "AutoAttack": _Entry("torchattacks' AutoAttack: 10 steps, not the published 100", least_classes=4),
    "BIM": _Entry("basic iterative method: PGD without random start (arXiv 1607.02533)"),
    "CW": _Entry("Carlini & Wagner's L2 attack; eps is an L2 radius (arXiv 1608.04644)", "l2", minimal=True),
    "DIFGSM": _Entry("momentum steps over resized inputs, for transfer (arXiv 1803.06978)"),
    "DeepFool": _Entry("nearest boundary in L2; eps is an L2 radius (arXiv 1511.04599)", "l2", minimal=True),
    "EOTPGD": _Entry("PGD on gradients averaged over draws, for random models (arXiv 1907.00895)"),
    "FAB": _Entry("nearest boundary in L∞ (arXiv 1907.02044)", minimal=True),
    "FFGSM": _Entry("FGSM from a random start (arXiv 2001.03994)"),
    "FGSM": _Entry("fast gradient sign method (arXiv 1412.6572)"),
    "GN": _Entry("Gaussian noise of standard deviation 0.1; knows no budget", None, gradients=False),
    "Jitter": _Entry("PGD on a noisy, scaled loss (arXiv 2105.10304)"),
    "MIFGSM": _Entry("momentum steps, for transfer (arXiv 1710.06081)"),
    "NIFGSM": _Entry("Nesterov momentum steps, for transfer (arXiv 1908.06281)"),
    "OnePixel": _Entry(
        "one pixel by differential evolution; knows no budget (arXiv 1710.08864)", None, gradients=False
    ),
    "PGD": _Entry("projected gradient descent (arXiv 1706.06083)"),
    "PGDL2": _Entry("projected gradient descent; eps is an L2 radius (arXiv 1706.06083)", "l2"),
    "PGDRS": _Entry("PGD against randomised smoothing (arXiv 1906.04584)"),
    "PGDRSL2": _Entry("PGD against randomised smoothing; eps is an L2 radius (arXiv 1906.04584)", "l2"),
    "Pixle": _Entry("moves pixels about; knows no budget (arXiv 2202.02236)", None, gradients=False),
    "RFGSM": _Entry("steps after a random step (arXiv 1705.07204)"),
    "SINIFGSM": _Entry("Nesterov momentum over scaled inputs, for transfer (arXiv 1908.06281)"),
    "SparseFool": _Entry("a few pixels; knows no budget (arXiv 1811.02248)", None),
    "Square": _Entry("random squares, scores only (arXiv 1912.00049)", gradients=False),
    "TIFGSM": _Entry("momentum over shifted inputs, for transfer (arXiv 1904.02884)"),
    "TPGD": _Entry("PGD on the KL divergence from the clean prediction; takes no labels (arXiv 1901.08573)"),
    "UPGD": _Entry("PGD with momentum and a choice of loss"),
    "VANILA": _Entry("the clean images, unchanged", gradients=False),
    "VMIFGSM": _Entry("momentum tuned by gradient variance, for transfer (arXiv 2103.15571)"),
    "VNIFGSM": _Entry("Nesterov momentum tuned by gradient variance, for transfer (arXiv 2103.15571)"),
}

_REFUSED = {
    "LGV": "it trains further models on the training data",
    "MultiAttack": "it takes other attacks; list them in evaluation.attacks, the worst counts image by image",
}

_UNTARGETED = frozenset({"APGD", "APGDT", "AutoAttack", "DeepFool", "GN", "SparseFool", "TPGD", "VANILA"})

_OPTION_OF = {"eps": "eps", "alpha": "step_size", "steps": "steps", "n_queries": "queries"}


def names() -> tuple[str, ...]:
    """Return the supported names, each as ``torchattacks:NAME``."""
    return tuple(PREFIX + name for name in _ENTRIES)


def method(name: str) -> Method:
    """Return the attack that ``torchattacks:NAME`` names.

    Raises:
        UserError: no such attack, or one that cannot be run from its name alone.
    """
    short = name.removeprefix(PREFIX)
    if short in _REFUSED:
        raise UserError(f"attack '{name}' cannot be run by name: {_REFUSED[short]}")
    if short not in _ENTRIES:
        raise UserError(f"attack '{name}' is not in torchattacks{suggest(short, _ENTRIES)}")
    entry = _ENTRIES[short]

    def run(model: nn.Module, images: Tensor, labels: Tensor, order: Order) -> Tensor:
        return _call(_construct(short, _Surface(model, images.device), order), model, images, labels, order)

    return Method(
        run=run,
        summary=entry.summary,
        options=lambda: _options(short),
        norm=entry.norm,
        minimal=entry.minimal,
        gradients=entry.gradients,
        targeted=short not in _UNTARGETED,
        least_classes=entry.least_classes,
        any_layout=True,
    )


def autoattack(model: nn.Module, images: Tensor, labels: Tensor, order: Order) -> Tensor:
    """Run AutoAttack's standard version, with the members that the number of classes allows.

    From 4 classes: APGD-CE, APGD-T, FAB-T and Square as published, against at most the 9 most likely other
    classes. The targeted difference-of-logits-ratio loss needs 4 classes and the plain one 3, so 3 classes get
    APGD-CE, APGD-DLR, FAB-T and Square, and 2 classes APGD-CE, FAB-T and Square. 100 steps and 5000 queries
    always; ``order.steps`` and ``order.queries`` do not count, as the published attack has no such parameters.
    """
    return _cascade(model, images, labels, order, AUTOATTACK_STEPS, AUTOATTACK_QUERIES)


def autoattack_members(classes: int) -> tuple[str, ...]:
    """Return which attacks ``autoattack`` runs, in order, on a model with so many classes."""
    second = {2: (), 3: ("APGD-DLR",)}.get(classes, ("APGD-T",))
    return ("APGD-CE", *second, "FAB-T", "Square")


def _cascade(model: nn.Module, images: Tensor, labels: Tensor, order: Order, steps: int, queries: int) -> Tensor:
    library = _library()
    surface = _Surface(model, images.device)
    budget = {"eps": order.eps, "seed": order.seed}
    targets = {"n_classes": min(order.classes, AUTOATTACK_TARGETS + 1)}
    members = {
        "APGD-CE": lambda: library.APGD(surface, steps=steps, loss="ce", **budget),
        "APGD-DLR": lambda: library.APGD(surface, steps=steps, loss="dlr", **budget),
        "APGD-T": lambda: library.APGDT(surface, steps=steps, **targets, **budget),
        "FAB-T": lambda: library.FAB(surface, steps=steps, multi_targeted=True, **targets, **budget),
        "Square": lambda: library.Square(surface, n_queries=queries, **budget),
    }
    chosen = [members[name]() for name in autoattack_members(order.classes)]
    return _call(library.MultiAttack(chosen), model, images, labels, order)


class _Surface(nn.Module):
    """The model as torchattacks wants it.

    It has a parameter to read the device from, logits that may be written to, and gradients that are contiguous also
    where the model's weights are channels-last.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.empty(0, device=device), requires_grad=False)
        self.model = model
        self.training = False

    def train(self, mode: bool = True) -> "_Surface":
        """Leave the modes alone: the model is in eval mode already, and an exported one refuses to be told."""
        return self

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(_ContiguousGradient.apply(images))  # type: ignore[no-untyped-call]
        return logits.clone() if logits.is_inference() else logits


class _ContiguousGradient(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, images: Tensor) -> Tensor:
        return images.view_as(images)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous()


def _library() -> Any:
    # Here and not above: the import takes a second, and most runs never need it.
    import torchattacks

    return torchattacks


def _options(short: str) -> tuple[str, ...]:
    accepted = inspect.signature(getattr(_library(), short)).parameters
    heeded = {ours for theirs, ours in _OPTION_OF.items() if theirs in accepted}
    if _ENTRIES[short].minimal:
        heeded.add("eps")  # craft applies it
    return (*(option for option in _OPTION_OF.values() if option in heeded), "seed")


def _construct(short: str, surface: _Surface, order: Order) -> Any:
    attack = getattr(_library(), short)
    # Square looks at the clean images, at its start and at its result besides its n_queries proposals.
    known: dict[str, Any] = {
        # The budget of a minimum-norm attack is applied by craft, which may also project what exceeds it.
        "eps": 1.0 if _ENTRIES[short].minimal else order.eps,
        "alpha": order.step_size,
        "steps": order.steps,
        "n_queries": max(order.queries - 3, 1),
        "n_classes": order.classes,
        "seed": order.seed,
    }
    accepted = inspect.signature(attack).parameters
    made = attack(surface, **{key: value for key, value in known.items() if key in accepted})
    if short == "FAB":
        made.get_diff_logits_grads_batch = lambda images, labels: fab.leads(made.get_logits, images, labels)
    return made


def _call(attack: Any, model: nn.Module, images: Tensor, labels: Tensor, order: Order) -> Tensor:
    if order.targeted:
        # As set_mode_targeted_by_function, which prints. What torchattacks calls labels is then the present class.
        attack.targeted, attack.attack_mode = True, "targeted(custom)"
        attack._target_map_function = lambda _images, _labels: labels
        with torch.no_grad():
            present = model(images).argmax(dim=1)
        found: Tensor = attack(images, present)
    else:
        found = attack(images, labels)
    # An image whose gradient is exactly zero ends as NaN (0/0) in some attacks: nothing was found for it.
    broken = ~torch.isfinite(found).flatten(1).all(dim=1)
    return torch.where(broken.view(-1, *[1] * (images.ndim - 1)), images, found.detach())
