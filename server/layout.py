"""The network that weights are put into to be scored, laid out as a processor answers faster."""

import torch
from torch import Tensor, nn


def lay_out(model: nn.Module, shape: tuple[int, int, int]) -> None:
    """Lay a network out channels-last, for as long as it lives, if it answers the same then.

    The answers differ by no more than the order of sums; weights that are copied into it later are laid out, too. A
    network that views its maps as rows cannot do with it and is left as it is, as is one that fails.

    Args:
        model: logits from images in [0, 1], on the CPU.
        shape: (C, H, W) of the images that it will be asked about; answers are compared on two random ones.
    """
    shown = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    before = _answer(model, shown)
    _turn(model, torch.channels_last)
    after = _answer(model, shown)
    # Written so that what is no number is not the same.
    if before is None or after is None or not (after - before).abs().max() <= 1e-3 * before.abs().max():
        _turn(model, torch.contiguous_format)


def _turn(model: nn.Module, layout: torch.memory_format) -> None:
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.ndim == 4:
            # Not ``contiguous``, which leaves kernels over one channel as they are: they are both.
            tensor.data = tensor.data.to(memory_format=layout)


def _answer(model: nn.Module, images: Tensor) -> Tensor | None:
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        with torch.no_grad(), torch.random.fork_rng():
            logits = model(images)
    except Exception:  # whatever a model of one's own may raise
        return None
    finally:
        for module in training:
            module.training = True
    return logits if isinstance(logits, Tensor) else None
