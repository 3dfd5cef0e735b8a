"""What ``craft`` needs to know of an attack, whoever wrote it."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from attacks.budget import Norm


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is asked of an attack for one batch of images.

    Attributes:
        eps: the budget, in units of [0, 1], measured by the method's norm.
        step_size: change of a value in one step.
        steps: number of steps.
        queries: forward passes that a query attack may spend on one image.
        seed: of all that the attack draws for this batch.
        classes: number of the model's classes.
        targeted: the labels are those to reach, not those to leave.
        stop_when_fooled: an image may stop at its first success.
        fooled_by: who must be fooled for that; None: the model itself.
        start: a first change [N, C, H, W], for methods with a random start.
        batch_size: images that the model is best given at once, where there may be more; None: all.
    """

    eps: float
    step_size: float
    steps: int
    queries: int
    seed: int
    classes: int
    targeted: bool = False
    stop_when_fooled: bool = False
    fooled_by: nn.Module | None = None
    start: Tensor | None = None
    batch_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Method:
    """An attack and its terms.

    Attributes:
        run: (model, images, labels, order) to changed images, all on one device, images float32 in [0, 1].
        summary: one line for ``psreval list attacks``.
        options: returns which of eps, step_size, steps, queries, seed it heeds; a call, as some must look it up.
        norm: how ``eps`` is measured; None: the attack knows no budget, only [0, 1].
        minimal: it seeks the smallest change that fools; ``craft`` applies the budget to what it found.
        gradients: it needs a differentiable model.
        targeted: it can be told which label to reach.
        random_start: it takes ``Order.start``.
        least_classes: it fails on models with fewer.
        per_record: what it does to an image follows from that image, its label, its place and the seed alone; others
            may draw from one stream for a whole batch, where one image decides what is drawn for the next.
        segmentation: it can attack models that give a class to every pixel.
        any_layout: it may be given a model in another layout (``attacks.layout``), so gradients are not contiguous.
        ours: it is this package's own: it draws from nothing but its order, and where images stop when they are fooled
            it takes more than a batch of them.
    """

    run: Callable[[nn.Module, Tensor, Tensor, Order], object]
    summary: str
    options: Callable[[], tuple[str, ...]]
    norm: Norm | None = "linf"
    minimal: bool = False
    gradients: bool = True
    targeted: bool = True
    random_start: bool = False
    least_classes: int = 2
    per_record: bool = False
    segmentation: bool = False
    any_layout: bool = False
    ours: bool = False
