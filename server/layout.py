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
    tensors = [*model.parameters(), *model.buffers()]
    if len({tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.numel()}) < len(tensors):
        return  # one is a view of another, and would not be any longer
    kernels = [tensor for tensor in tensors if tensor.ndim == 4]
    kept = [(tensor, tensor.data) for tensor in kernels]
    shown = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    before = _answer(model, shown)
    for kernel in kernels:
        # Not ``contiguous``, which leaves kernels over one channel as they are: they are both.
        kernel.data = kernel.data.to(memory_format=torch.channels_last)
    if not _is_same(before, _answer(model, shown)):
        for kernel, own in kept:
            kernel.data = own


def _is_same(before: Tensor | None, after: Tensor | None) -> bool:
    if before is None or after is None or before.shape != after.shape or not before.numel():
        return False
    # What is no number is not the same.
    return bool((after.double() - before.double()).abs().max() <= 1e-3 * before.double().abs().max())


def _answer(model: nn.Module, images: Tensor) -> Tensor | None:
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
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
        for buffer, own in buffers:  # a model of one's own may count how often it is asked
            buffer.copy_(own)
    return logits if isinstance(logits, Tensor) else None
