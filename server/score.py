"""Scoring: logits of a model in eval mode, and the measures made of them."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from common.allocator import keep_freed_memory
from common.records import as_float

Images = Tensor | np.ndarray


def logits_of(model: nn.Module | Callable[[Tensor], Tensor], images: Images, *, batch_size: int = 128) -> np.ndarray:
    """Return the logits, float32 [N, K]; of segmentation [N, K, H, W], which ``server.marks`` does not hold at once.

    Args:
        model: images [N, C, H, W] in [0, 1] in, logits out; an nn.Module is scored in eval mode and put back.
        images: uint8, or float32 in [0, 1].
        batch_size: images at once; group norm has no batch statistics, so the result does not depend on it.
    """
    return torch.cat(list(batches_of_logits(model, images, batch_size))).numpy()


def batches_of_logits(
    model: nn.Module | Callable[[Tensor], Tensor], images: Images, batch_size: int
) -> Iterator[Tensor]:
    """Yield the logits batch by batch, on the CPU; the model is in eval mode until the last one is taken."""
    training = [module for module in model.modules() if module.training] if isinstance(model, nn.Module) else []
    for module in training:
        module.training = False
    keep_freed_memory()
    device = _device_of(model)
    try:
        for start in range(0, len(images), batch_size):
            with torch.no_grad():
                logits = model(as_float(_tensor(images[start : start + batch_size])).to(device)).float().cpu()
            yield logits
    finally:
        for module in training:
            module.training = True


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of records whose largest logit is their label's."""
    return float((logits.argmax(1) == labels).mean())


def auroc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Return the area under the ROC curve (Mann-Whitney, ties count half); None if a class is empty.

    Args:
        scores: [N], higher = more likely positive.
        positive: [N] bool.
    """
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return None
    from scipy.stats import rankdata  # half a second, which a federation shall not wait for

    ranks = rankdata(scores)
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def disease_measures(logits: np.ndarray, labels: np.ndarray, normal: int) -> dict[str, tuple[float, int]]:
    """Return measures of "not normal" against "normal": name → (value, n).

    Args:
        logits: [N, K].
        labels: [N].
        normal: the class that means healthy; every other class is a disease.
    """
    sick = labels != normal
    told_sick = logits.argmax(1) != normal
    from scipy.special import softmax

    measures: dict[str, tuple[float, int]] = {}
    area = auroc(1 - softmax(logits.astype(np.float64), axis=1)[:, normal], sick)
    if area is not None:
        measures["auroc"] = (area, len(labels))
        measures["sensitivity"] = (float(told_sick[sick].mean()), int(sick.sum()))
        measures["specificity"] = (float((~told_sick[~sick]).mean()), int((~sick).sum()))
    return measures


def _tensor(images: Images) -> Tensor:
    # A copy: memory-mapped images cannot be written to, which torch warns about.
    return images if isinstance(images, Tensor) else torch.from_numpy(np.array(images))


def _device_of(model: object) -> torch.device:
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return parameter.device if parameter is not None else torch.device("cpu")
