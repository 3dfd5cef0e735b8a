"""Facts beside a study's cells: sizes of the paper's networks, seconds of attacks, and the released code's faults."""

import io
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.config import Experiment
from common.data import prepare
from common.description import Compression, Model
from common.folder import RunFolder
from common.models import build
from common.seeds import numpy_generator, torch_generator
from common.threads import torch_threads
from experiments.run import load_model
from experiments.study.costs import ATTACKS, RELEASED, attack_seconds
from experiments.study.faults import Fault, Group, Repeat, measure_faults
from experiments.study.setting import MODELS, setting_of
from server.deployment import export_onnx
from server.evaluator import sample
from server.int8 import LEAST_RECORDS, compress

PAPER = {"CIFAR-10": "ResNet-9", "Chest X-rays": "ResNet-18"}
"""Which network the paper's figures train on which images."""
TIMED = 64
"""Images that attacks are timed on, the paper's training batch."""
_SHAPES = {"resnet9": ((3, 32, 32), 10), "resnet18": ((1, 64, 64), 3)}
"""The paper's channels and classes. Its X-rays have 224 pixels a side; a model's size does not depend on that."""


def measure_facts(
    runs: Sequence[tuple[Experiment, RunFolder]], *, records: int, seed: int, width: int = 64
) -> dict[str, Any]:
    """Return what claims need beside the finished cells, as plain data for JSON.

    Of the runs, those are taken whose federation is not private and has no adversarial data: for each data set the
    repeats of one federation. Works on one thread; deterministic but for the seconds. The global random state and
    torch's threads are as before.

    Args:
        runs: descriptions with their folders; those without a model are passed over.
        records: test images that are attacked.
        seed: of the draws and the attacks.
        width: of the networks whose sizes are taken; the paper's is 64.

    Returns:
        ``sizes``: "ResNet-9" and "ResNet-18" → ``fp32_bytes`` (all weights as float32), ``int8_bytes`` (the ONNX file),
        ``reduction`` (a fraction) and ``state_dict_reduction`` (of the file that torch writes, the paper's measure).
        ``attack_seconds``: "fgsm", "pgd" and "fab" → seconds of each repeat on the same images; empty without any run.
        ``faults``: see ``experiments.study.faults``.

    Raises:
        UserError: data that are not there any more, a model that is not whole, no space for a temporary file.
    """
    with torch_threads(1):
        groups = _groups(runs)
        seconds: dict[str, list[float]] = {name: [] for name in ATTACKS}
        faults: list[Fault] = []
        if groups:
            seconds, dearer = _seconds(groups[0], seed)
            faults = [*measure_faults(groups, records=records, seed=seed), dearer]
        return {"sizes": measure_sizes(width), "attack_seconds": seconds, "faults": faults}


def measure_sizes(width: int = 64) -> dict[str, dict[str, Any]]:
    """Return the sizes of both networks, untrained, at the paper's channels and classes; see ``measure_facts``."""
    sizes = {}
    for name, (shape, classes) in _SHAPES.items():
        channels = shape[0]
        model = build(Model(name=name, width=width), channels, classes, [0.47] * channels, [0.25] * channels, seed=0)
        images = torch.rand(LEAST_RECORDS, *shape, generator=torch_generator(0, "sizes"))
        int8 = compress(model, images, Compression())
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.int8.onnx"
            export_onnx(int8, file)
            int8_bytes = file.stat().st_size
        fp32_bytes = sum(tensor.numel() * 4 for tensor in model.state_dict().values())
        sizes[MODELS[name]] = {
            "fp32_bytes": fp32_bytes,
            "int8_bytes": int8_bytes,
            "reduction": 1 - int8_bytes / fp32_bytes,
            "state_dict_reduction": 1 - _saved_bytes(int8.kernels) / _saved_bytes(model),
        }
    return sizes


def _saved_bytes(model: nn.Module) -> int:
    # The file whose length the paper compares; it is written to memory, and nothing ever reads it.
    content = io.BytesIO()
    torch.save(model.state_dict(), content)
    return content.tell()


def _groups(runs: Iterable[tuple[Experiment, RunFolder]]) -> list[Group]:
    """Return one group a data set: the federation with most repeats, then the one with the paper's network."""
    federations: dict[tuple[str, str], dict[int, tuple[Experiment, RunFolder]]] = {}
    for experiment, folder in runs:
        setting = setting_of(experiment)
        if setting.epsilon is None and setting.use == "none" and folder.model.exists():
            same = experiment.change({"seed": 0}).digest(federation_only=True)
            federations.setdefault((setting.data, same), {}).setdefault(experiment.seed, (experiment, folder))
    chosen: dict[str, dict[int, tuple[Experiment, RunFolder]]] = {}
    for (data, _), found in federations.items():
        if data not in chosen or _rank(data, found) > _rank(data, chosen[data]):
            chosen[data] = found
    return [
        Group(data, tuple(_repeat(*found[seed]) for seed in sorted(found)))
        for data, found in sorted(chosen.items(), key=lambda item: item[0] not in PAPER)
    ]


def _rank(data: str, found: dict[int, tuple[Experiment, RunFolder]]) -> tuple[int, bool]:
    experiment, _ = next(iter(found.values()))
    return len(found), setting_of(experiment).model == PAPER.get(data)


def _repeat(experiment: Experiment, folder: RunFolder) -> Repeat:
    dataset = prepare(experiment.data)
    device = "cuda" if experiment.device != "cpu" and torch.cuda.is_available() else "cpu"
    return Repeat(experiment, dataset, load_model(folder, experiment, dataset).to(device))


def _seconds(group: Group, seed: int) -> tuple[dict[str, list[float]], Fault]:
    """Return the seconds of our attacks, and beside FAB's those of the released code's FAB."""
    repeat = group.repeats[0]
    index = sample(repeat.dataset.test.strata, TIMED, numpy_generator(seed, "timed images"))
    images = repeat.dataset.test.records(index).images
    seconds = attack_seconds(repeat.model, images, seed=seed)
    fault = {
        "name": f"cost of FAB: {group.data}",
        "sentence": (
            "FAB computes the gradients of all the model's parameters on its way, which nobody uses; ours freezes them "
            "first. Seconds to craft the same images, on one model, turn by turn."
        ),
        "released": seconds.pop(RELEASED),
        "ours": seconds["fab"],
        "n": len(images),
        "unit": "seconds",
    }
    return seconds, fault
