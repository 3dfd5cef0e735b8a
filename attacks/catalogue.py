"""The attacks by name."""

from dataclasses import replace

from torch import Tensor, nn

from attacks import library, user
from attacks.fgsm import fgsm
from attacks.method import Method, Order
from attacks.pgd import pgd
from attacks.square import square
from common.errors import UserError
from common.loading import is_reference, suggest


def _fgsm(model: nn.Module, images: Tensor, labels: Tensor, order: Order) -> Tensor:
    if order.stop_when_fooled:
        # One step of PGD is FGSM; it also leaves alone what is fooled already.
        return pgd(
            model,
            images,
            labels,
            eps=order.eps,
            step_size=order.eps,
            steps=1,
            targeted=order.targeted,
            stop_when_fooled=True,
            fooled_by=order.fooled_by,
            batch_size=order.batch_size,
        )
    return fgsm(model, images, labels, eps=order.eps, targeted=order.targeted)


def _pgd(model: nn.Module, images: Tensor, labels: Tensor, order: Order) -> Tensor:
    return pgd(
        model,
        images,
        labels,
        eps=order.eps,
        step_size=order.step_size,
        steps=order.steps,
        start=order.start,
        targeted=order.targeted,
        stop_when_fooled=order.stop_when_fooled,
        fooled_by=order.fooled_by,
        batch_size=order.batch_size,
    )


_LIBRARY_SQUARE = library.method("torchattacks:Square")


def _square(model: nn.Module, images: Tensor, labels: Tensor, order: Order) -> object:
    if labels.ndim == 1:
        return _LIBRARY_SQUARE.run(model, images, labels, order)
    return square(model, images, labels, eps=order.eps, queries=order.queries, seed=order.seed, targeted=order.targeted)


_BUILT_IN = {
    "fgsm": Method(
        run=_fgsm,
        summary="one full step along the sign of the gradient (arXiv 1412.6572)",
        options=lambda: ("eps",),
        per_record=True,
        segmentation=True,
        any_layout=True,
        ours=True,
    ),
    "pgd": Method(
        run=_pgd,
        summary="projected gradient steps from a random start (arXiv 1706.06083); the default",
        options=lambda: ("eps", "step_size", "steps", "seed"),
        random_start=True,
        per_record=True,
        segmentation=True,
        any_layout=True,
        ours=True,
    ),
    # It draws nothing, but is not per_record: who is misclassified leaves, and in the smaller batch the others' numbers
    # are rounded otherwise, at the boundary, where that decides.
    "fab": library.method("torchattacks:FAB"),
    "square": replace(_LIBRARY_SQUARE, run=_square, segmentation=True),
    "autoattack": Method(
        run=library.autoattack,
        summary="the standard AutoAttack, 100 steps and 5000 queries; minutes for some dozen images (arXiv 2003.01690)",
        options=lambda: ("eps", "seed"),
        targeted=False,
        any_layout=True,
    ),
}

ATTACKS: dict[str, str] = {
    **{name: method.summary for name, method in _BUILT_IN.items()},
    **{name: library.method(name).summary for name in library.names()},
}
"""Every attack by name, with one line on each, for ``psreval list attacks``."""


def find(name: str) -> Method:
    """Return the attack of this name: built in, ``torchattacks:NAME`` or ``file.py:function``.

    Raises:
        UserError: there is no such attack, or it cannot be run by its name.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    if name.startswith(library.PREFIX):
        return library.method(name)
    if is_reference(name):
        return user.method(name)
    raise UserError(f"attack = '{name}' is not known{suggest(name, ATTACKS)} (or 'file.py:function' for your own)")


def options(name: str) -> tuple[str, ...]:
    """Return which of eps, step_size, steps, queries and seed the attack heeds. Raises UserError as ``find``."""
    return find(name).options()
