"""An attack from a user's own file, ``file.py:function``."""

import inspect
from typing import Any

from torch import Tensor, nn

from attacks.method import Method, Order
from common.errors import UserError
from common.loading import load

OFFERED = ("eps", "step_size", "steps", "seed", "queries", "targeted")
"""The keyword arguments that a user's function may ask for."""


def method(name: str) -> Method:
    """Return the attack that ``file.py:function`` names.

    The function is called as ``function(model, images, labels, **those of OFFERED that it names)``, batch by batch,
    with images float32 [N, C, H, W] in [0, 1] and int64 labels [N], or masks [N, H, W] for segmentation; it returns the
    changed images. Its budget is L∞. It may call ``backward`` and draw from any global generator: these are seeded
    before and restored after.

    Raises:
        UserError: the file or function is not there, is not callable, or demands an argument that we do not have.
    """
    function = load(name, {}, "attack")
    if not callable(function):
        raise UserError(f"attack '{name}' is a {type(function).__name__}, not a function(model, images, labels, ...)")
    accepted = _accepted(name, function)

    def run(model: nn.Module, images: Tensor, labels: Tensor, order: Order) -> object:
        offered = {key: getattr(order, key) for key in accepted}
        return function(model, images.clone(), labels.clone(), **offered)

    return Method(
        run=run,
        summary=(inspect.getdoc(function) or "no description").splitlines()[0],
        options=lambda: tuple(key for key in accepted if key != "targeted"),
        gradients=False,  # whether it needs them only it knows
        targeted="targeted" in accepted,
        segmentation=True,  # likewise
    )


def _accepted(name: str, function: Any) -> tuple[str, ...]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise UserError(f"attack '{name}' has no readable signature; write it as a plain function") from None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) < 3 and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise UserError(
            f"attack '{name}' takes {len(positional)} positional arguments; it needs (model, images, labels)"
        )
    rest = [p for p in parameters if p not in positional[:3]]
    for parameter in rest:
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if not variadic and parameter.default is parameter.empty and parameter.name not in OFFERED:
            raise UserError(
                f"attack '{name}' demands the argument '{parameter.name}', which is not one of "
                f"{', '.join(OFFERED)}; give it a default"
            )
    if any(p.kind is p.VAR_KEYWORD for p in rest):
        return OFFERED
    named = {p.name for p in rest if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return tuple(key for key in OFFERED if key in named)
