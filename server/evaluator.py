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
from common.folder import RunFolder, read_arrays, read_json, read_lines, write_arrays, write_json, write_text
from common.records import Records, Task, as_float
from common.seeds import numpy_generator
from common.task import scores
from common.threads import torch_threads
from server.adversarial_sets import AdversarialSets
from server.adversaries import Answers, Targets, attack_all
from server.deployment import export_onnx, measure_compression
from server.federation import initial_model
from server.int8 import compress, with_rounded_weights
from server.marks import Marks, marks_of
from server.measures import to_csv
from server.rows import attack_rows, clean_rows
from server.score import logits_of
from server.stress import doubts
from server.verdict import verdict

EXAMPLES = 6
"""Images that the report shows."""
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
    _write_examples(folder, answers, records, before["int8"], int8.kernels, experiment)
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


def calibration_images(experiment: Experiment, dataset: Dataset) -> Tensor:
    """Return the public images that int8 is calibrated on, uint8 [n, C, H, W]: a stratified, seeded draw."""
    index = stratified_draw(
        dataset.public.strata,
        experiment.compression.calibration_records,
        numpy_generator(experiment.seed, "calibration"),
    )
    return torch.from_numpy(np.array(dataset.public.images[index]))


def _write_examples(
    folder: RunFolder,
    answers: Answers,
    records: Records,
    clean: Marks,
    deployed: nn.Module,
    experiment: Experiment,
) -> None:
    """Write a few images for the report: those that the deployed model had right, the fooled first.

    Args:
        folder: the run's.
        answers: what was scored.
        records: all attacked records.
        clean: the deployed model's marks on their images, unchanged.
        deployed: that model, which draws its masks once more.
        experiment: the description.
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
        {"target": "int8", "threat": answer.threat, "attack": attack, "eps": str(experiment.evaluation.eps)},
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
