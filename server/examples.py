"""Examples: a few attacked images that the report shows, with what the deployed model said before and after."""

import numpy as np
import torch
from torch import nn

from common.folder import RunFolder, write_arrays
from common.records import Records, as_float
from server.adversaries import Answers
from server.marks import Marks
from server.score import logits_of

EXAMPLES = 6
"""Images that the report shows."""


def write_examples(
    folder: RunFolder,
    answers: Answers,
    records: Records,
    clean: Marks,
    deployed: nn.Module,
    eps: float,
) -> None:
    """Write a few images for the report: those that the deployed model had right, the fooled first.

    Args:
        folder: the run's.
        answers: what was scored.
        records: all attacked records.
        clean: the deployed model's marks on their images, unchanged.
        deployed: that model, which draws its masks once more.
        eps: the budget that they were attacked with, in units of [0, 1].
    """
    shown = next((key for key in (("twin", "pgd"), ("fp32", "pgd")) if key in answers.adversarial), None)
    # What fp32 alone was asked for says nothing of int8, the deployed model.
    shown = shown or next((key for key in answers.adversarial if key[0] != "query fp32"), None)
    if shown is None:
        return
    source, attack = shown
    answer = next(
        (
            scored
            for scored in answers.scored
            if scored.attack == attack and scored.target == "int8" and scored.generator in (source, "")
        ),
        None,
    )
    if answer is None:
        return
    before, after = clean.take(answer.index), answer.marks
    chosen = _telling(before, after, records.labels.numpy()[answer.index])
    shown_records = records.take(torch.from_numpy(answer.index[chosen]))
    arrays = {
        "clean": as_float(shown_records.images),
        "adversarial": answers.adversarial[shown][torch.from_numpy(chosen)],
    }
    numbers = {"labels": shown_records.labels}
    for kind, marks in (("clean", before), ("adversarial", after)):
        logits = logits_of(deployed, arrays[kind]) if marks.logits is None else marks.logits[chosen]
        numbers[f"{kind}_prediction"] = torch.from_numpy(logits.argmax(1))
    if records.task == "segmentation":
        numbers = {name: masks.to(torch.uint8) for name, masks in numbers.items()}
    write_arrays(
        folder.examples,
        arrays | numbers,
        {"target": "int8", "threat": answer.threat, "attack": attack, "eps": str(eps)},
    )


def _telling(before: Marks, after: Marks, truth: np.ndarray) -> np.ndarray:
    """Return the places of the images to show: those that lost most."""
    if before.structures is not None:
        return np.argsort(after.scores - before.scores, kind="stable")[:EXAMPLES]
    order = np.lexsort((np.arange(len(truth)), after.scores, -before.scores))
    # One of each class in turn, so that the grid is not all of one kind.
    turns = np.array([np.sum(truth[order[:place]] == truth[order[place]]) for place in range(len(order))])
    chosen: np.ndarray = order[np.argsort(turns, kind="stable")][:EXAMPLES]
    return chosen
