"""A model whose fp32 and int8 forms often disagree, so that a test notices where one is taken for the other."""

import dataclasses

import numpy as np
import torch
from torch import nn

from common.config import Experiment
from common.data import Split, prepare
from server.evaluator import calibration_images
from server.federation import initial_model
from server.int8 import compress
from server.score import logits_of


class Torn:
    """A model that can hardly decide between the classes, so that fp32 and int8 often say different things.

    The labels are such that both are wrong where they agree; where they do not, either is right every other time.
    """

    def __init__(self, experiment: Experiment) -> None:
        data = prepare(experiment.data)
        self.model = initial_model(experiment, data).eval()
        last = [module for module in self.model.modules() if isinstance(module, nn.Linear)][-1]
        with torch.no_grad():
            last.bias -= torch.from_numpy(np.median(logits_of(self.model, data.test.images), axis=0))
        self.int8 = compress(self.model, calibration_images(experiment, data), experiment.compression)
        fp32, int8 = (logits_of(model, data.test.images).argmax(1) for model in (self.model, self.int8.kernels))
        torn = np.flatnonzero(fp32 != int8)
        assert len(torn) >= 4
        labels = (fp32 + 1) % len(data.classes)
        labels[torn[::2]], labels[torn[1::2]] = fp32[torn[::2]], int8[torn[1::2]]
        labels[torn[0]] = int8[torn[0]]  # so that one of them is right more often, however many there are
        self.said = {"fp32": fp32, "int8": int8}
        self.right = {name: said == labels for name, said in self.said.items()}
        self.data = dataclasses.replace(data, test=Split(data.test.images, labels))
