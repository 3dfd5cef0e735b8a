"""Gradient inversion: images, reconstructed from a gradient or from the update that a client sends.

Geiping et al. 2020, "Inverting gradients: how easy is it to break privacy in federated learning?" (arXiv 2003.14053):
images are sought whose gradient points where the observed one does. Two things are ours. Most of the search follows a
smooth copy of the network (``attacks.smooth_network``): otherwise it gets stuck where other units are active than for
the true image. And an observation may be of signs, as of Adam's first step or of votes.

The attacker knows the network, its weights before the round, its normalisation (a part of the network), the update, and
how it was made: one step, how many images, by which optimiser. A mean image of such data is a good start, and public.
It does not know the images; their labels it reads from the last layer's bias (``label_shares``, ``labels_of``). An
update of many steps it takes for one of one step, which is wrong, and part of why whole epochs resist.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attacks.smooth_network import SHARPEST, SOFTEST, sharpen, smoothed
from common.errors import UserError

Kind = Literal["gradient", "sign", "votes"]
"""What was observed, up to a positive factor: the mean gradient over all images; its sign, number by number; or the
mean over the images of each one's own signs."""
SMOOTH = 0.8
"""Share of the steps that follow the smooth network."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What an attack found.

    Attributes:
        images: [N, C, H, W] in [0, 1].
        loss: how far from what was observed their gradient is, in [0, 2] (``matching_loss``).
    """

    images: Tensor
    loss: float


def invert(
    model: nn.Module,
    observed: Mapping[str, Tensor],
    labels: Tensor,
    start: Tensor,
    *,
    kind: Kind = "gradient",
    steps: int = 600,
    step_size: float = 0.02,
    total_variation: float = 0.1,
    start_noise: float = 0.0,
    generator: torch.Generator,
) -> Reconstruction:
    """Return the images whose gradient fits best what was observed: Adam on the sign of the loss's gradient.

    A step costs about three forwards and backwards of all images; with ``votes`` as many for each image. The step size
    falls to zero (cosine). Equal arguments, threads and machine give equal bytes; the model is left as it was.

    Args:
        model: with the weights that the update started from; logits [N, classes] from images in [0, 1].
        observed: name → gradient, for every trainable parameter (``as_gradient`` makes it of an update).
        labels: int64 [N], one for each image.
        start: [N, C, H, W] in [0, 1], such as a mean image; another start is another prior.
        kind: what was observed.
        steps: of the search, at least 1.
        step_size: of the first step, in units of [0, 1].
        total_variation: how much smooth images are preferred.
        start_noise: standard deviation of noise on the start. Images with the same label and start would stay alike.
        generator: of that noise.

    Raises:
        UserError: an observation that is not of this model, not finite, or zero; labels, start or options that do not
            fit.
    """
    _check_options(kind, steps, step_size, total_variation, start_noise)
    _check_start(start, labels)
    sharp = _own(model)
    target = _target(sharp, observed)
    smooth = smoothed(sharp)
    noise = torch.randn(start.shape, generator=generator, device=generator.device).to(start)
    images = (start.detach() + start_noise * noise).clamp_(0, 1).requires_grad_()
    optimizer = torch.optim.Adam([images], lr=step_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, least, loss = images.detach().clone(), float("inf"), float("inf")
    turn = int(SMOOTH * steps)
    with torch.enable_grad():
        for step in range(steps + 1):
            if step < turn:
                sharpen(smooth, SOFTEST * (SHARPEST / SOFTEST) ** (step / turn))
            distance = _distance(smooth if step < turn else sharp, images, labels, target, kind, create_graph=True)
            total = distance + total_variation * _variation(images)
            if step >= turn and total.item() < least:
                best, least, loss = images.detach().clone(), total.item(), distance.item()
            if step < steps:
                (gradient,) = torch.autograd.grad(total, images)
                images.grad = gradient.sign()
                optimizer.step()
                schedule.step()
                with torch.no_grad():
                    images.clamp_(0, 1)
    return Reconstruction(best, loss)


def matching_loss(
    model: nn.Module, images: Tensor, labels: Tensor, observed: Mapping[str, Tensor], *, kind: Kind = "gradient"
) -> float:
    """Return 1 − cosine of the angle between the images' gradient and what was observed, in [0, 2].

    For a gradient, 0 at the true images. Signs are compared with soft ones, so that they have a gradient themselves;
    the loss is then least near the true images, and above 0.

    Args:
        model, labels, observed, kind: as for ``invert``.
        images: [N, C, H, W] in [0, 1].

    Raises:
        UserError: as ``invert``.
    """
    _check_start(images, labels)
    sharp = _own(model)
    with torch.enable_grad():
        distance = _distance(sharp, images, labels, _target(sharp, observed), kind, create_graph=False)
    return distance.item()


def as_gradient(before: Mapping[str, Tensor], after: Mapping[str, Tensor], learning_rate: float) -> dict[str, Tensor]:
    """Return the gradient of which one step of SGD would have made an update: (before − after) / learning rate.

    Args:
        before: name → weights that training started from.
        after: those that it ended with; the same names.
        learning_rate: of the client; positive.

    Raises:
        UserError: other names, or a learning rate that is not positive.
    """
    if before.keys() != after.keys():
        odd = sorted(before.keys() ^ after.keys())[0]
        raise UserError(f"the weights before and after differ in '{odd}'; give those of one model")
    if not learning_rate > 0:
        raise UserError(f"learning_rate = {learning_rate:g} must be above 0")
    return {name: (weights - after[name]) / learning_rate for name, weights in before.items()}


def analytic_input(weight_gradient: Tensor, bias_gradient: Tensor) -> Tensor:
    """Return what a linear layer was given, exactly, from the gradient of one record: [inputs].

    Each row of the weights' gradient is the input times that row's gradient of the bias, so that their ratio is the
    input (Phong et al. 2018, doi 10.1109/TIFS.2017.2787987); the row with the largest one is rounded least. For a
    network that begins with such a layer this is the normalised image, for others features of it.

    Args:
        weight_gradient: [outputs, inputs].
        bias_gradient: [outputs].

    Raises:
        UserError: shapes that do not fit, or a bias whose gradient is zero.
    """
    if weight_gradient.ndim != 2 or bias_gradient.shape != weight_gradient.shape[:1]:
        raise UserError(
            f"gradients of shapes {tuple(weight_gradient.shape)} and {tuple(bias_gradient.shape)} are not those of a "
            "linear layer's weights and bias; give [outputs, inputs] and [outputs]"
        )
    row = int(bias_gradient.abs().argmax())
    if not bool(bias_gradient[row].abs() > 0):
        raise UserError("the gradient of the layer's bias is zero: nothing can be told of its input")
    return weight_gradient[row] / bias_gradient[row]


def label_shares(bias: Tensor, *, kind: Kind = "gradient", probabilities: Tensor | None = None) -> Tensor:
    """Return each class's share of the labels [K], as the gradient of the last layer's bias tells it.

    That gradient is the mean of softmax less the labels' share. For one image only its label's entry is negative (iDLG,
    Zhao et al. 2020, arXiv 2001.02610), and what the softmax was does not matter. Of votes, N images of n with label k
    give (N − 2 n) / N.

    Args:
        bias: [K], the observation.
        kind: what it is of; ``sign`` is exact for one image only.
        probabilities: [K], the mean softmax; that of the network on a start image is near it. None: zero.
    """
    if kind == "gradient":
        return -bias if probabilities is None else probabilities - bias
    return (1 - bias) / 2


def labels_of(shares: Tensor, count: int) -> Tensor:
    """Return ``count`` labels, int64 in order, in these shares [K] as nearly as can be (largest remainders).

    Raises:
        UserError: a count below 1.
    """
    if count < 1:
        raise UserError(f"count = {count}: an update is of at least 1 image")
    wanted = shares.detach().double().clamp(min=0)
    wanted = wanted / wanted.sum() * count if float(wanted.sum()) > 0 else torch.full_like(wanted, count / len(wanted))
    whole = wanted.floor().long()
    for place in (wanted - whole).argsort(descending=True, stable=True)[: count - int(whole.sum())].tolist():
        whole[place] += 1
    return torch.repeat_interleave(torch.arange(len(shares)), whole)


def _distance(
    model: nn.Module, images: Tensor, labels: Tensor, target: list[Tensor], kind: Kind, *, create_graph: bool
) -> Tensor:
    """Return 1 − cosine between what these images would show and what was observed."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def gradient(part: slice) -> list[Tensor]:
        loss = F.cross_entropy(model(images[part]), labels[part])
        return list(torch.autograd.grad(loss, parameters, create_graph=create_graph))

    if kind == "votes":
        each = [_soft_signs(gradient(slice(number, number + 1))) for number in range(len(images))]
        shown = [torch.stack(parts).mean(dim=0) for parts in zip(*each, strict=True)]
    else:
        shown = gradient(slice(None))
        shown = _soft_signs(shown) if kind == "sign" else shown
    product = torch.stack([(mine * theirs).sum() for mine, theirs in zip(shown, target, strict=True)]).sum()
    return 1 - product / (_length(shown) * _length(target)).clamp(min=1e-12)


def _soft_signs(gradient: list[Tensor]) -> list[Tensor]:
    """Return numbers near −1 and 1 for those far above the usual size, and in between for those below."""
    numbers = sum(part.numel() for part in gradient)
    usual = (_length(gradient).detach() / numbers**0.5).clamp(min=1e-20)
    return [part / (part * part + (0.3 * usual) ** 2).sqrt() for part in gradient]


def _length(parts: list[Tensor]) -> Tensor:
    return torch.stack([(part * part).sum() for part in parts]).sum().sqrt()


def _variation(images: Tensor) -> Tensor:
    """Return the mean step between neighbouring pixels, across plus down."""
    return images.diff(dim=-1).abs().mean() + images.diff(dim=-2).abs().mean()


def _own(model: nn.Module) -> nn.Module:
    """Return a copy in eval mode; the model itself is not touched."""
    return copy.deepcopy(model).eval()


def _target(model: nn.Module, observed: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the observation in the order of the model's trainable parameters, scaled to length 1."""
    target = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part = observed.get(name)
        if part is None or part.shape != parameter.shape:
            found = "nothing" if part is None else f"shape {tuple(part.shape)}"
            raise UserError(
                f"the update has {found} for parameter '{name}' of shape {tuple(parameter.shape)}; give the update of "
                "this model"
            )
        target.append(part.detach().to(parameter))
    if not target:
        raise UserError("the model has no trainable parameters, so its updates tell nothing")
    length = _length(target)
    if not bool(length.isfinite()):
        raise UserError("the update is not finite; look for a training that diverged")
    if not bool(length > 0):
        raise UserError("the update is zero, so that it tells nothing; give one of a client that has trained")
    return [part / length for part in target]


def _check_options(kind: str, steps: int, step_size: float, total_variation: float, start_noise: float) -> None:
    if kind not in get_args(Kind):
        raise UserError(f"kind = '{kind}' is not known; choose one of {', '.join(get_args(Kind))}")
    if steps < 1:
        raise UserError(f"steps = {steps} must be at least 1")
    if not step_size > 0:
        raise UserError(f"step_size = {step_size:g} must be above 0")
    for name, value in (("total_variation", total_variation), ("start_noise", start_noise)):
        if not value >= 0:
            raise UserError(f"{name} = {value:g} must be at least 0")


def _check_start(images: Tensor, labels: Tensor) -> None:
    if images.ndim != 4 or not images.is_floating_point() or len(images) == 0:
        raise UserError(f"images must be floats [N, C, H, W], N at least 1, not {images.dtype} {tuple(images.shape)}")
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise UserError("images must lie in [0, 1]; divide uint8 ones by 255")
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise UserError(f"labels must be int64 [{len(images)}], one an image, not {labels.dtype} {tuple(labels.shape)}")
