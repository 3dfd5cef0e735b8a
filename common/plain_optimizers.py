"""torch's optimisers as they are, without torch's compiler, whose import takes a second of every process that trains.

``torch.optim`` imports the compiler (``torch._dynamo``) at the first use, to tell it to leave optimisers alone. Nothing
is compiled here, so there is nobody to tell.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import optim
from torch.optim import Optimizer

GUARDED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
"""Methods that torch keeps from its compiler."""


def _plain(kind: type[Optimizer]) -> Any:
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in GUARDED}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), methods | {"__module__": __name__})


NAdam, Adam, SGD = _plain(optim.NAdam), _plain(optim.Adam), _plain(optim.SGD)  # by name, so that they can be pickled
PLAIN: dict[str, Callable[..., Optimizer]] = {"nadam": NAdam, "adam": Adam, "sgd": SGD}
"""By the name that ``training.optimizer`` has in a description; the same steps bit for bit."""
