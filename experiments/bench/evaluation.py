"""The evaluator beside its cells, each computed on its own: how much crafting once and scoring everywhere saves.

A cell is one attack on one target: on its own it makes the int8 model if it needs it, crafts, and asks its target about
the clean images and the changed ones. ``one_by_one`` and ``worst_one_by_one`` are also the oracle of the evaluator's
tests: they share no code with it but compression, attacks and scores.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from attacks.craft import craft, options
from common.config import Experiment
from common.data import Dataset, prepare
from common.folder import RunFolder, write_arrays, write_json
from common.records import Records
from common.seeds import derive, numpy_generator
from experiments.bench.findings import Finding, Taken, compared, interleaved, times_as_fast
from experiments.bench.subjects import description, one_thread, trained
from server.adversaries import QUERIES, Targets, attack_all
from server.evaluator import calibration_images, evaluate, sample
from server.int8 import compress, with_rounded_weights
from server.marks import marks_of
from server.rows import attack_rows
from server.score import disease_measures, logits_of

Key = tuple[str, str, str, str, int | None, str]
"""Target, threat, attack, generator, repeat, metric."""
Numbers = dict[Key, tuple[float, int]]
"""→ (value, number of images)."""


@dataclass(frozen=True)
class Cell:
    """One attack on one target."""

    target: str
    threat: str
    attack: str
    generator: str
    repeat: int


@dataclass(frozen=True)
class Subject:
    """A trained model in all its forms, and what it is attacked with.

    Attributes:
        experiment, dataset: as described.
        models: ``fp32``, ``int8``, ``twin`` and the generators, by name.
        records: the attacked images.
        queried: the places of those that query attacks get.
    """

    experiment: Experiment
    dataset: Dataset
    models: Mapping[str, nn.Module]
    records: Records
    queried: np.ndarray

    def generators(self) -> dict[str, nn.Module]:
        """Return the models of others."""
        return {name: model for name, model in self.models.items() if name not in ("fp32", "int8", "twin")}


def subject(width: int = 16, **changes: object) -> Subject:
    """Return a briefly trained ResNet-9 and two others as generators; ``changes`` as for ``description``."""
    wanted = {
        "evaluation__threats": ["white-box", "insider", "transfer", "query"],
        "evaluation__records": 64, "evaluation__query_records": 16, "evaluation__queries": 100,
        "evaluation__stress_records": 32, "data__test_records": 100, "federation__threads": 1,
    } | changes  # fmt: skip
    experiment = description(model__width=width, **wanted)
    dataset = prepare(experiment.data)
    models = {
        name: trained("resnet9", width, epochs, **wanted)[0] for name, epochs in (("fp32", 2), ("a", 1), ("b", 3))
    }
    models |= made_int8(experiment, dataset, models["fp32"])
    test, evaluation, seed = dataset.test, experiment.evaluation, experiment.attack_seed()
    attacked = sample(test.strata, evaluation.records, numpy_generator(seed, "attacked images"))
    queried = sample(test.strata[attacked], evaluation.query_records, numpy_generator(seed, "queried images"))
    return Subject(experiment, dataset, models, test.records(attacked), queried)


def made_int8(experiment: Experiment, dataset: Dataset, fp32: nn.Module) -> dict[str, nn.Module]:
    """Return the int8 model and its twin."""
    int8 = compress(fp32, calibration_images(experiment, dataset), experiment.compression)
    return {"int8": int8.kernels, "twin": with_rounded_weights(int8.twin)}


def cells(experiment: Experiment, generators: Sequence[str]) -> Iterator[Cell]:
    """Yield every single attack on every target under all four threats."""
    sources = [("fp32", "white-box", "fp32"), ("int8", "white-box", "fp32"), ("int8", "white-box", "twin")]
    sources += [("int8", "insider", "fp32")]
    sources += [(target, "transfer", name) for name in generators for target in ("fp32", "int8")]
    for target, threat, generator in sources:
        for attack in experiment.evaluation.attacks:
            for repeat in range(experiment.evaluation.repeats if "seed" in options(attack) else 1):
                yield Cell(target, threat, attack, generator, repeat)
    for attack in experiment.evaluation.query_attacks:
        yield Cell("fp32", "query", attack, "", 0)
        yield Cell("int8", "query", attack, "", 0)
        yield Cell("int8", "white-box", attack, QUERIES, 0)


def one_by_one(given: Subject) -> Numbers:
    """Return the numbers of every single attack, each cell on its own."""
    found: Numbers = {}
    labels, dataset = given.records.labels.numpy(), given.dataset
    for target in ("fp32", "int8"):
        logits = logits_of(given.models[target], dataset.test.images)
        truth = np.asarray(dataset.test.labels)
        found |= _numbers((target, "clean", "none", "", None), logits, truth, dataset.normal)
    for cell in cells(given.experiment, list(given.generators())):
        index, before, after = _alone(given, cell)
        key = (cell.target, cell.threat, cell.attack, cell.generator, cell.repeat)
        found |= _numbers(key, after, labels[index], dataset.normal)
        found |= _success(key, before.argmax(1) == labels[index], after.argmax(1) == labels[index])
    return found


def worst_one_by_one(given: Subject) -> Numbers:
    """Return the numbers of every worst case, each on its own: of a threat, and of all threats."""
    found: Numbers = {}
    singles = list(cells(given.experiment, list(given.generators())))
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in singles:
        named = cell.generator if cell.threat == "transfer" else ""
        groups.setdefault((cell.target, cell.threat, named), []).append(cell)
        groups.setdefault((cell.target, "all", ""), []).append(cell)
    truth = given.records.labels.numpy()
    for (target, threat, generator), group in groups.items():
        before = logits_of(given.models[target], given.records.images).argmax(1) == truth
        after, met = before.copy(), np.zeros(len(truth), dtype=bool)
        for cell in group:
            index, _, logits = _alone(given, cell)
            after[index] &= logits.argmax(1) == truth[index]
            met[index] = True
        key = (target, threat, "worst", generator, None)
        found[*key, "accuracy"] = (float(after[met].mean()), int(met.sum()))
        if threat != "all":
            found |= _success(key, before[met], after[met])
    return found


def all_at_once(given: Subject) -> Numbers:
    """Return the same numbers as the evaluator comes to them: int8, clean answers, attacks and rows, without checks."""
    evaluation, labels = given.experiment.evaluation, given.records.labels
    test, classes, normal = given.dataset.test, given.dataset.classes, given.dataset.normal
    models = {**given.models, **made_int8(given.experiment, given.dataset, given.models["fp32"])}
    targets = Targets(models["fp32"], models["int8"], models["twin"])
    found: Numbers = {}
    for name in ("fp32", "int8"):
        logits = logits_of(models[name], test.images)
        found |= _numbers((name, "clean", "none", "", None), logits, np.asarray(test.labels), normal)
    clean = {name: marks_of(models[name], given.records.images, labels) for name in ("fp32", "int8")}
    seed = given.experiment.attack_seed()
    images, queried = given.records.images, given.queried
    answers = attack_all(evaluation, targets, given.generators(), images, labels, queried, seed)
    rows, _ = attack_rows(evaluation, answers, labels.numpy(), clean, classes, normal)
    told = {(r.target, r.threat, r.attack, r.generator, r.repeat, r.metric): (r.value, r.n) for r in rows}
    return found | told


def whole(given: Subject, place: Path) -> RunFolder:
    """Run ``evaluate``, latencies left out: int8, its ONNX file, its agreement and the checks are in it, too."""
    run = RunFolder(Path(tempfile.mkdtemp(dir=place)))
    write_arrays(run.model, given.models["fp32"].state_dict())
    write_json(run.ledger, {"worst_honest_epsilon": None})
    evaluate(given.experiment, given.dataset, run, given.generators(), latencies=False)
    return run


def find(repeats: int) -> list[Finding]:
    """Time the evaluator, its cells one by one, and the whole of ``evaluate``."""
    one_thread()
    given = subject()
    single = list(cells(given.experiment, list(given.generators())))
    in_need = 1 + sum("int8" in (cell.target, cell.generator) or cell.generator == "twin" for cell in single)

    def make_again() -> None:
        for _ in range(in_need):  # the clean answers of int8 are a cell, too
            made_int8(given.experiment, given.dataset, given.models["fp32"])

    equal = all_at_once(given) == one_by_one(given) | worst_one_by_one(given)
    with tempfile.TemporaryDirectory() as place:
        sides = {
            "once": lambda: all_at_once(given),
            "cells": lambda: one_by_one(given),
            "int8": make_again,
            "whole": lambda: whole(given, Path(place)),
        }
        times = interleaved(sides, repeats, warm_up=False)
    alone = [
        Taken(one.wall + made.wall, one.cpu + made.cpu) for one, made in zip(times["cells"], times["int8"], strict=True)
    ]
    path = f"evaluator, all threats, 2 generators, ResNet-9 width 16, {len(given.records)} images"
    note = "equal numbers" if equal else "the numbers DIFFER"
    cells_alone = f"each of the {len(single)} attacks on its own"
    return [
        *compared(path, f"{cells_alone}, int8 made anew", times["once"], alone, times_as_fast(2), note, equal=equal),
        *compared(path, f"{cells_alone}, the models at hand", times["once"], times["cells"], None, note),
        *compared(f"{path}, with its checks and ONNX", f"{cells_alone}, without those", times["whole"], alone),
    ]


def _alone(given: Subject, cell: Cell) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the places of a cell's images [n], and the target's logits [n, K] before and after the attack."""
    evaluation, seed = given.experiment.evaluation, given.experiment.attack_seed()
    asked = cell.attack in evaluation.query_attacks
    index = given.queried if asked else np.arange(len(given.records))
    images, labels = given.records.images[torch.from_numpy(index)], given.records.labels[torch.from_numpy(index)]
    adversarial = craft(
        cell.attack,
        given.models[cell.target if asked else cell.generator],
        images,
        labels,
        eps=evaluation.eps,
        step_size=evaluation.step_size,
        steps=evaluation.steps,
        queries=evaluation.queries,
        seed=derive(seed, "attack", Path(cell.attack).name, cell.repeat),
    )
    target = given.models[cell.target]
    return index, logits_of(target, images), logits_of(target, adversarial)


def _numbers(
    key: tuple[str, str, str, str, int | None], logits: np.ndarray, truth: np.ndarray, normal: int | None
) -> Numbers:
    found: Numbers = {(*key, "accuracy"): (float((logits.argmax(1) == truth).mean()), len(truth))}
    measures = {} if normal is None else disease_measures(logits, truth, normal)
    return found | {(*key, metric): told for metric, told in measures.items()}


def _success(key: tuple[str, str, str, str, int | None], before: np.ndarray, after: np.ndarray) -> Numbers:
    if not before.any():
        return {}
    return {(*key, "attack_success"): (float((~after[before]).mean()), int(before.sum()))}
