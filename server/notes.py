"""Notes: what a reader of an evaluation should know besides, such as who was left out of the federation."""

from typing import Any

import numpy as np
import torch

from common.data import Dataset
from common.folder import RunFolder, read_lines
from common.records import Task
from common.task import scores
from server.marks import Marks


def attendance_notes(folder: RunFolder) -> list[dict[str, Any]]:
    """Return a note for every client whose updates did not all count, and one for skipped rounds."""
    lines = list(read_lines(folder.rounds))
    sentences = []
    skipped = [line for line in lines if line["status"] == "skipped"]
    if skipped:
        sentences.append(f"{len(skipped)} of {len(lines)} rounds were skipped, the last: {skipped[-1]['reason']}")
    for name in dict.fromkeys(client["name"] for line in lines for client in line["clients"]):
        entries = [client for line in lines for client in line["clients"] if client["name"] == name]
        failed = [client for client in entries if client["status"] != "accepted"]
        if failed:
            told = f"{len(entries) - len(failed)} of {len(lines)} updates counted; the last that did not was "
            if folder.updates.exists():  # there was no server
                told = f"in {len(failed)} of {len(lines)} rounds others did without it; in the last of them it was "
            sentences.append(f"{name}: {told}{failed[-1]['status']}: {failed[-1]['reason']}")
    return [{"severity": "note", "sentence": sentence} for sentence in sentences]


def unseeing(dataset: Dataset) -> float:
    """Return the score on the test split of a model that never looks at an image.

    It always answers the commonest class; for segmentation, for each pixel the one that is commonest there in the
    public split.
    """
    labels, public, classes = dataset.test.labels, dataset.public.labels, len(dataset.classes)
    if dataset.task == "classification":
        return float(np.bincount(labels).max() / len(labels))
    mask = torch.from_numpy(np.stack([np.sum(public == number, axis=0) for number in range(classes)]).argmax(0))[None]
    # One by one: as int64 all masks at once would be eight times what they are on disk.
    found = [scores(mask, torch.from_numpy(one.astype(np.int64))[None], classes) for one in labels]
    return float(torch.cat(found).mean())


def unseeing_note(marks: Marks, score: float, task: Task) -> list[dict[str, Any]]:
    """Return a note if the model is no better than one that never looks (``score`` of ``unseeing``), beyond chance."""
    if marks.interval[0] > score:
        return []
    sentence = (
        f"int8 is not shown to be better than always answering the commonest class, which is right for {score:.1%}"
        if task == "classification"
        else "int8 is not shown to be better than always drawing the same mask, each pixel's commonest class, with its "
        f"mean Dice of {score:.1%}"
    )
    return [{"severity": "note", "sentence": sentence}]
