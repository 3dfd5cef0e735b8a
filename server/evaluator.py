"""The evaluator: compress the global model to int8, attack fp32 and int8 under every threat, judge, write it down."""

import copy
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.config import Experiment
from common.data import Dataset, stratified_draw
from common.errors import UserError
from common.folder import RunFolder, read_arrays, read_json, read_lines, write_arrays, write_json, write_text
from common.intervals import wilson
from common.records import as_float
from common.seeds import numpy_generator
from common.threads import torch_threads
from server.adversarial_sets import AdversarialSets
from server.adversaries import Answers, Targets, attack_all
from server.deployment import export_onnx, measure_compression
from server.federation import initial_model
from server.int8 import compress
from server.measures import to_csv
from server.rows import attack_rows, clean_rows
from server.score import accuracy, logits_of
from server.stress import doubts
from server.verdict import verdict

EXAMPLES = 6
"""Images that the report shows."""
LATENCY_SECONDS = 2.0
"""About how long the latencies of one batch size are measured."""


def evaluate(
    experiment: Experiment,
    dataset: Dataset,
    folder: RunFolder,
    generators: Mapping[str, nn.Module],
    *,
    sets: AdversarialSets | None = None,
    latencies: bool = True,
) -> None:
    """Evaluate the final model of a run; writes the int8 model, the measures, the examples and the verdict.

    Args:
        experiment: the description.
        dataset: its images; the test split is scored, the public split calibrates.
        folder: a run whose federation has ended.
        generators: models of other federations for the transfer threat, by name; of the same network.
        sets: where adversarial sets are kept for other evaluations of the same generators; the measures stay the same.
        latencies: measure them; where several evaluations share the machine, they would mean nothing.

    Raises:
        UserError: a public split too small to calibrate, an attack that does not fit, a full disk.
    """
    started = time.monotonic()
    with torch_threads(experiment.federation.threads):
        model = initial_model(experiment, dataset)
        model.load_state_dict(read_arrays(folder.model))
        model.eval()
        public = calibration_images(experiment, dataset)
        int8 = compress(model, public, experiment.compression)
        export_onnx(int8, folder.int8_model, dataset.classes)
        # The int8 kernels and their ONNX file are the CPU's; all that has gradients goes where the description says.
        device = _device(experiment)
        targets = Targets(model.to(device), int8.kernels, copy.deepcopy(int8.twin).to(device))
        generators = {name: generator.to(device) for name, generator in generators.items()}

        labels = dataset.test.labels
        clean = {"fp32": logits_of(model, dataset.test.images), "int8": logits_of(int8.kernels, dataset.test.images)}
        evaluation, seed = experiment.evaluation, experiment.attack_seed()
        attacked = sample(labels, evaluation.records, numpy_generator(seed, "attacked images"))
        query_draw = numpy_generator(seed, "queried images")
        queried = sample(labels[attacked], evaluation.query_records, query_draw)
        images = torch.from_numpy(np.array(dataset.test.images[attacked]))
        answers = attack_all(
            evaluation,
            targets,
            generators,
            images,
            torch.from_numpy(labels[attacked]),
            queried,
            seed,
            experiment.model,
            sets,
        )
        rows = clean_rows(clean, labels, dataset.normal)
        right = {target: logits[attacked].argmax(1) == labels[attacked] for target, logits in clean.items()}
        under_attack, worst = attack_rows(evaluation, answers, labels[attacked], right, dataset.normal)
        rows += under_attack
        warnings = doubts(experiment, targets, images, labels[attacked], answers, right)
        warnings += attendance_notes(folder) + majority_note(clean["int8"], labels)
        facts = measure_compression(
            model,
            int8,
            folder.int8_model,
            dataset.test.images,
            dataset.public.images,
            seconds=LATENCY_SECONDS if latencies else None,
        )

    robust, n = worst["int8"]
    told: dict[str, Any] = {
        "compression": facts,
        "warnings": warnings,
        "credible": all(warning["severity"] != "unreliable" for warning in warnings),
        "test_records": len(labels),
        "attacked_records": len(attacked),
        "queried_records": len(queried),
    }
    told["verdict"] = verdict(
        experiment.thresholds,
        epsilon=read_json(folder.ledger)["worst_honest_epsilon"],
        robust_accuracy=robust,
        robust_interval=wilson(robust, n),
        size_reduction=facts["size_reduction"],
        accuracy=accuracy(clean["int8"], labels),
        accuracy_interval=wilson(accuracy(clean["int8"], labels), len(labels)),
        credible=told["credible"],
        attacked=evaluation.eps > 0 and any(answer.threat == "white-box" for answer in answers.scored),
    )
    told["seconds"] = round(time.monotonic() - started, 2)
    write_json(folder.evaluation, told)
    _write_examples(folder, answers, images, labels[attacked], clean, attacked, experiment)
    write_text(folder.results, to_csv(rows))  # last: its presence says that the evaluation has ended


def _device(experiment: Experiment) -> torch.device:
    """Return where attacks run. Raises UserError: the description wants a GPU and there is none."""
    cuda = torch.cuda.is_available()
    if experiment.device == "cuda" and not cuda:
        raise UserError("device = 'cuda': this machine's torch sees no GPU; set device = 'cpu' or 'auto'")
    return torch.device("cuda" if cuda and experiment.device != "cpu" else "cpu")


def sample(labels: np.ndarray, records: int | None, generator: np.random.Generator) -> np.ndarray:
    """Return the numbers of a stratified draw of so many records; None: of all."""
    return stratified_draw(labels, len(labels) if records is None else records, generator)


def attendance_notes(folder: RunFolder) -> list[dict[str, Any]]:
    """Return a note for every client whose updates did not all count, and one for skipped rounds."""
    lines = list(read_lines(folder.rounds))
    sentences = []
    skipped = [line for line in lines if line["status"] == "skipped"]
    if skipped:
        sentences.append(
            f"{len(skipped)} of {len(lines)} rounds were skipped, the last because of {skipped[-1]['reason']}"
        )
    for name in dict.fromkeys(client["name"] for line in lines for client in line["clients"]):
        entries = [client for line in lines for client in line["clients"] if client["name"] == name]
        failed = [client for client in entries if client["status"] != "accepted"]
        if failed:
            told = f"{len(entries) - len(failed)} of {len(lines)} updates counted; the last that did not was "
            sentences.append(f"{name}: {told}{failed[-1]['status']}: {failed[-1]['reason']}")
    return [{"severity": "note", "sentence": sentence} for sentence in sentences]


def majority_note(logits: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """Return a note if the model is no better than always answering the commonest class, beyond chance."""
    share = float(np.bincount(labels).max() / len(labels))
    if wilson(accuracy(logits, labels), len(labels))[0] > share:
        return []
    sentence = (
        f"int8 is not shown to be better than always answering the commonest class, which is right for {share:.1%}"
    )
    return [{"severity": "note", "sentence": sentence}]


def calibration_images(experiment: Experiment, dataset: Dataset) -> Tensor:
    """Return the public images that int8 is calibrated on, uint8 [n, C, H, W]: a stratified, seeded draw."""
    index = stratified_draw(
        dataset.public.labels,
        experiment.compression.calibration_records,
        numpy_generator(experiment.seed, "calibration"),
    )
    return torch.from_numpy(np.array(dataset.public.images[index]))


def _write_examples(
    folder: RunFolder,
    answers: Answers,
    images: Tensor,
    labels: np.ndarray,
    clean: Mapping[str, np.ndarray],
    attacked: np.ndarray,
    experiment: Experiment,
) -> None:
    """Write a few images for the report: those that the deployed model had right, the fooled first."""
    shown = next((key for key in (("twin", "pgd"), ("fp32", "pgd")) if key in answers.adversarial), None)
    shown = shown or next(iter(answers.adversarial), None)
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
    before = clean["int8"][attacked][answer.index].argmax(1)
    after = answer.logits.argmax(1)
    truth = labels[answer.index]
    order = np.lexsort((np.arange(len(truth)), after == truth, before != truth))
    # One of each class in turn, so that the grid is not all of one kind.
    turns = np.array([np.sum(truth[order[:place]] == truth[order[place]]) for place in range(len(order))])
    chosen = order[np.argsort(turns, kind="stable")][:EXAMPLES]
    write_arrays(
        folder.examples,
        {
            "clean": as_float(images[torch.from_numpy(answer.index[chosen])]),
            "adversarial": answers.adversarial[shown][torch.from_numpy(chosen)],
            "labels": torch.from_numpy(truth[chosen]),
            "clean_prediction": torch.from_numpy(before[chosen]),
            "adversarial_prediction": torch.from_numpy(after[chosen]),
        },
        {"target": "int8", "threat": answer.threat, "attack": attack, "eps": str(experiment.evaluation.eps)},
    )
