"""One participant's own model, scored as the evaluator scores the model of all: clean, as int8, and attacked."""

import copy
from dataclasses import dataclass

from torch import nn

from common.config import Experiment
from common.data import Dataset
from common.seeds import numpy_generator
from server.adversaries import Targets, attack_all, in_worst_case
from server.evaluator import calibration_images, device_of, sample
from server.int8 import compress
from server.marks import Marks, marks_of


@dataclass(frozen=True, eq=False)
class Own:
    """How good one model is by itself.

    Attributes:
        fp32: on the clean test images, all of them.
        int8: likewise; None where the description has no threat, and only clean scores are asked for.
        attacked: by target, image by image under the worst of the white-box attacks that follow gradients, one repeat
            of each; queries, which int8 meets in the evaluation, too, are left out. Empty where nothing was attacked.
    """

    fp32: Marks
    int8: Marks | None
    attacked: dict[str, Marks]


def score_own(experiment: Experiment, dataset: Dataset, model: nn.Module) -> Own:
    """Score a model on the test images that the evaluator takes, with its calibration, attacks and seeds.

    Args:
        experiment: the description; white-box attacks are made if it names that threat and a budget above 0.
        dataset: its images.
        model: fp32, on the CPU; put into eval mode.

    Raises:
        UserError: a public split too small to calibrate, or an attack that does not fit.
    """
    model.eval()
    test, evaluation, seed = dataset.test, experiment.evaluation, experiment.attack_seed()
    if not evaluation.threats:
        return Own(marks_of(model, test.images, test.labels), None, {})
    int8 = compress(model, calibration_images(experiment, dataset), experiment.compression)
    clean = {name: marks_of(m, test.images, test.labels) for name, m in (("fp32", model), ("int8", int8.kernels))}
    attacked: dict[str, Marks] = {}
    if "white-box" in evaluation.threats and evaluation.eps > 0:
        chosen = sample(test.strata, evaluation.records, numpy_generator(seed, "attacked images"))
        records, device = test.records(chosen), device_of(experiment)
        answers = attack_all(
            evaluation.model_copy(update={"threats": ("white-box",), "query_attacks": (), "repeats": 1}),
            Targets(model.to(device), int8.kernels, copy.deepcopy(int8.twin).to(device)),
            {},
            records.images,
            records.labels,
            chosen[:0],
            seed,
        )
        model.cpu()
        for target, marks in clean.items():
            scored = [one for one in answers.scored if one.target == target and one.threat == "white-box"]
            attacked[target] = in_worst_case(scored, marks.take(chosen))
    return Own(clean["fp32"], clean["int8"], attacked)
