"""The evaluator: compress the global model to int8, attack fp32 and int8 under every threat, judge, write it down."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.config import Experiment
from common.data import Dataset, stratified_draw
from common.errors import UserError
from common.folder import RunFolder, read_arrays, read_json, write_json, write_text
from common.seeds import numpy_generator
from common.threads import torch_threads
from server.adversarial_sets import AdversarialSets
from server.adversaries import Targets, attack_all
from server.deployment import export_onnx, measure_compression
from server.examples import write_examples
from server.federation import initial_model
from server.int8 import compress, with_rounded_weights
from server.marks import Marks, marks_of
from server.measures import to_csv
from server.notes import attendance_notes, unseeing, unseeing_note
from server.rows import attack_rows, clean_rows
from server.stress import doubts
from server.verdict import verdict

LATENCY_SECONDS = 1.5
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
        device = device_of(experiment)
        targets = Targets(model.to(device), int8.kernels, with_rounded_weights(int8.twin).to(device))
        generators = {name: generator.to(device) for name, generator in generators.items()}

        test = dataset.test
        clean = {name: marks_of(m, test.images, test.labels) for name, m in (("fp32", model), ("int8", int8.kernels))}
        evaluation, seed = experiment.evaluation, experiment.attack_seed()
        attacked = sample(test.strata, evaluation.records, numpy_generator(seed, "attacked images"))
        query_draw = numpy_generator(seed, "queried images")
        queried = sample(test.strata[attacked], evaluation.query_records, query_draw)
        records = test.records(attacked)
        images, labels = records.images, records.labels.numpy()
        answers = attack_all(
            evaluation,
            targets,
            generators,
            images,
            records.labels,
            queried,
            seed,
            experiment.model,
            sets,
        )
        rows = clean_rows(clean, test.labels, dataset.classes, dataset.normal)
        before = {target: marks.take(attacked) for target, marks in clean.items()}
        under_attack, worst = attack_rows(evaluation, answers, labels, before, dataset.classes, dataset.normal)
        rows += under_attack
        warnings = doubts(experiment, targets, images, labels, answers, before, test.strata[attacked])
        blind = unseeing(dataset)
        warnings += attendance_notes(folder) + unseeing_note(clean["int8"], blind, dataset.task)
        facts = measure_compression(
            model,
            int8,
            folder.int8_model,
            dataset.test.images,
            dataset.public.images,
            seconds=LATENCY_SECONDS if latencies else None,
            predicted=predicted_classes(clean),
        )

    told: dict[str, Any] = {
        "compression": facts,
        "warnings": warnings,
        "credible": all(warning["severity"] != "unreliable" for warning in warnings),
        "test_records": len(test),
        "attacked_records": len(attacked),
        "queried_records": len(queried),
    }
    told["verdict"] = verdict(
        experiment.thresholds,
        epsilon=read_json(folder.ledger)["worst_honest_epsilon"],
        robust_accuracy=worst["int8"].mean,
        robust_interval=worst["int8"].interval,
        size_reduction=facts["size_reduction"],
        accuracy=clean["int8"].mean,
        accuracy_interval=clean["int8"].interval,
        credible=told["credible"],
        attacked=evaluation.eps > 0 and any(answer.threat == "white-box" for answer in answers.scored),
        task=dataset.task,
    )
    if dataset.task == "segmentation":
        told["unseeing"] = blind
    told["seconds"] = round(time.monotonic() - started, 2)
    write_json(folder.evaluation, told)
    write_examples(folder, answers, records, before["int8"], int8.kernels, evaluation.eps)
    write_text(folder.results, to_csv(rows))  # last: its presence says that the evaluation has ended


def predicted_classes(clean: Mapping[str, Marks]) -> tuple[Tensor, Tensor] | None:
    """Return the classes that fp32 and int8 were seen to predict, [N] each; None for masks, which are not kept."""
    fp32, int8 = (clean[target].logits for target in ("fp32", "int8"))
    return (
        None if fp32 is None or int8 is None else (torch.from_numpy(fp32.argmax(1)), torch.from_numpy(int8.argmax(1)))
    )


def device_of(experiment: Experiment) -> torch.device:
    """Return where attacks run. Raises UserError: the description wants a GPU and there is none."""
    cuda = torch.cuda.is_available()
    if experiment.device == "cuda" and not cuda:
        raise UserError("device = 'cuda': this machine's torch sees no GPU; set device = 'cpu' or 'auto'")
    return torch.device("cuda" if cuda and experiment.device != "cpu" else "cpu")


def sample(strata: np.ndarray, records: int | None, generator: np.random.Generator) -> np.ndarray:
    """Return the numbers of a stratified draw of so many records; None: of all."""
    return stratified_draw(strata, len(strata) if records is None else records, generator)


def calibration_images(experiment: Experiment, dataset: Dataset) -> Tensor:
    """Return the public images that int8 is calibrated on, uint8 [n, C, H, W]: a stratified, seeded draw."""
    index = stratified_draw(
        dataset.public.strata,
        experiment.compression.calibration_records,
        numpy_generator(experiment.seed, "calibration"),
    )
    return torch.from_numpy(np.array(dataset.public.images[index]))
