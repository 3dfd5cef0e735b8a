"""An optimiser's state as named tensors, so that it can be kept between a client's local updates, without pickle."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from common.errors import UserError


@dataclass
class KeptOptimizer:
    """What an optimiser knew when the last local update ended; training begins with it and leaves the new one here.

    Attributes:
        tensors: ``PARAMETER/SLOT`` → tensor on the CPU, for example ``stem.weight/exp_avg``; empty: it starts afresh.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)

    def give(self, optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
        """Set the optimiser's state, as far as there is one. Raises UserError as ``restore``."""
        if self.tensors:
            restore(optimizer, model, self.tensors)

    def take(self, optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
        """Keep the optimiser's state; one that is not finite is of no use, and the next update starts afresh."""
        tensors = tensors_of(optimizer, model)
        finite = all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())
        self.tensors = tensors if finite else {}


def tensors_of(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return copies of an optimiser's state, ``PARAMETER/SLOT`` → tensor on the CPU; settings are not among them."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{names[parameter]}/{slot}": value.detach().cpu().clone()
        for parameter, slots in optimizer.state.items()
        for slot, value in slots.items()
        if isinstance(value, Tensor)
    }


def restore(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Set an optimiser's state to what ``tensors_of`` returned for one of the same kind, over the same model.

    Raises:
        UserError: parameters that the optimiser does not have, or moments of other shapes.
    """
    parameters = dict(model.named_parameters())
    places = {parameter: place for place, parameter in enumerate(_parameters(optimizer))}
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, slot = key.rpartition("/")
        parameter = parameters.get(name)
        if parameter is None or parameter not in places or value.shape not in (parameter.shape, torch.Size([])):
            raise UserError(
                f"the kept optimiser's '{key}' does not fit the model; set peers.keep_optimizer = false, or start a "
                "new run"
            )
        state.setdefault(places[parameter], {})[slot] = value.clone()
    # Its own method puts each tensor where its parameter is, and what counts steps on the CPU.
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
