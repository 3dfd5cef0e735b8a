"""Models asked with one image before an attack, so that one that cannot be attacked is told in a sentence."""

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from attacks.gradients import input_gradient
from attacks.guard import undisturbed
from attacks.method import Method
from common.errors import UserError


def reason(error: BaseException) -> str:
    """Return an exception's kind and its message in one line."""
    lines = str(error).strip().splitlines() or ["no reason given"]
    if "TorchScript" in lines[0]:  # its own traceback comes first
        return lines[-1].strip()
    return f"{type(error).__name__}: {lines[0].strip()}"


def check_module(name: str, field: str, model: object) -> None:
    """Raise UserError if the attack ``name`` cannot freeze the ``model`` that it was given as ``field``."""
    said = f"attack '{name}': {field} is a {type(model).__name__}"
    if not isinstance(model, nn.Module):
        raise UserError(f"{said}, not a torch.nn.Module; put it into one (an exported program has its own: .module())")
    try:
        empty = any(is_lazy(parameter) or parameter.is_meta for parameter in model.parameters())
        if not empty:
            with undisturbed(model):
                pass
    except Exception as error:  # whatever a model of one's own may raise
        raise UserError(
            f"{said} that cannot be frozen in eval mode ({reason(error)}); "
            "leave its modules, parameters and training flags as torch has them"
        ) from error
    if empty:
        raise UserError(f"{said} with parameters that hold no values yet; load its weights, or call it once")


def classes_of(name: str, field: str, model: nn.Module, image: Tensor, label: Tensor) -> int:
    """Return the number of classes that ``model``, given as ``field``, answers to one image [1, C, H, W].

    Args:
        name: of the attack.
        field: the argument that holds the model.
        model: in eval mode.
        image: float32, on the model's device.
        label: its label [1], or its mask [1, H, W].

    Raises:
        UserError: the model fails, or returns anything else than logits for such a label.
    """
    try:
        with torch.no_grad():
            logits = model(image)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"attack '{name}' needs a {field} that takes float32 images [N, C, H, W], whatever N; "
            f"this one fails on {list(image.shape)}: {reason(error)}"
        ) from error
    pixels = label.shape[1:]
    if not isinstance(logits, Tensor) or (logits.ndim, len(logits), logits.shape[2:]) != (label.ndim + 1, 1, pixels):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        wanted = f"[N, {', '.join(map(str, ('classes', *pixels)))}]"
        raise UserError(f"attack '{name}' needs a {field} that returns logits {wanted}; this one returns {shape}")
    return logits.shape[1]


def check_fit(name: str, method: Method, model: nn.Module, image: Tensor, label: Tensor, classes: int) -> None:
    """Raise UserError if the attack needs more classes than ``classes``, or gradients that the model does not give."""
    if classes < method.least_classes:
        other = "; use 'autoattack', which leaves out what needs more" if method.least_classes > 2 else ""
        raise UserError(
            f"attack '{name}' needs at least {method.least_classes} classes; the model has {classes}{other}"
        )
    if not method.gradients:
        return
    try:
        input_gradient(model, image, label.to(image.device) % classes)
    except UserError as error:
        raise UserError(f"attack '{name}': {error}") from None
    except Exception as error:
        raise UserError(
            f"attack '{name}' needs gradients, and the model fails where they are taken ({reason(error)}); "
            "craft on the model that it was made from, or use a query attack such as 'square'"
        ) from error
