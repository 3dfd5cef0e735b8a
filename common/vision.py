"""torchvision, imported where it is needed: that takes seconds, and its operators may not fit this torch."""

import importlib
import sys
from types import ModuleType

import torch

from common.errors import UserError

_MISSING_OPERATOR = "operator torchvision::nms does not exist"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []


def import_torchvision(name: str = "torchvision") -> ModuleType:
    """Return torchvision, or one of its modules (``"torchvision.datasets.utils"``).

    A torchvision built for CUDA cannot load its operators beside a CPU-only torch, and then fails while it registers
    them. On that one error the two operators' signatures are declared, without any kernel, and the import repeated:
    data sets, transforms and models work; calling a missing operator still raises.

    Raises:
        UserError: torchvision is not installed or does not fit torch.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"torchvision could not be imported ({error}); install the version that psreval asks for"
        ) from None
    except RuntimeError as error:
        if _MISSING_OPERATOR not in str(error):
            raise
    for module in [known for known in sys.modules if known.partition(".")[0] == "torchvision"]:
        del sys.modules[module]
    if not _declared:
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for schema in _SCHEMAS:
            library.define(schema)  # type: ignore[no-untyped-call]
        _declared.append(library)  # the declarations live as long as this object
    return importlib.import_module(name)
