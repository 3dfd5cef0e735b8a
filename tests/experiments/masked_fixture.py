"""What differs in a finished run's folder where every pixel has a class."""

from collections.abc import Iterator

import torch

from common.folder import (
    RunFolder,
    append_line,
    read_arrays,
    read_json,
    read_lines,
    write_arrays,
    write_json,
    write_text,
)
from server.measures import Measure, measure, to_csv

STRUCTURES = ("background", "skull", "grey <matter>")
BANDS = ["20 to 29 years", "30 to 39 years", "40 to 49 years"]
BUDGET = (8 / 255, 2 / 255, 10)


def masked(folder: RunFolder) -> RunFolder:
    """Turn a finished run of three classes into one of masks with two structures."""
    manifest = read_json(folder.manifest)
    manifest["data"] |= {"task": "segmentation", "classes": list(STRUCTURES), "strata": BANDS}
    write_json(folder.manifest, manifest)
    lines = list(read_lines(folder.rounds))
    folder.rounds.unlink()
    for line in lines:
        append_line(folder.rounds, line | {"score": "dice", "interval": [line["accuracy"] - 0.02, 0.9]})
    write_json(folder.evaluation, read_json(folder.evaluation) | {"unseeing": 0.62})
    write_text(folder.results, to_csv(measures()))
    arrays = read_arrays(folder.examples)
    truth = torch.zeros(6, 32, 32, dtype=torch.uint8)
    truth[:, 4:20, 4:20], truth[:, 8:12, 8:12] = 1, 2
    numbers = {"labels": truth, "clean_prediction": truth.clone(), "adversarial_prediction": truth.flip(1)}
    facts = {"target": "int8", "threat": "white-box", "attack": "pgd", "eps": repr(8 / 255)}
    write_arrays(folder.examples, arrays | numbers, facts)
    return folder


def measures() -> Iterator[Measure]:
    """Yield the rows of a run of masks; of the second structure there is none in some images."""
    for target in ("fp32", "int8"):
        yield from _of(target, "clean", "none", 0.86, 500)
        yield from _of(target, "white-box", "pgd", 0.55, 200, generator="fp32", repeat=0, budget=BUDGET)
        for threat in ("white-box", "all"):
            yield from _of(target, threat, "worst", 0.5, 200, budget=BUDGET)


def _of(target: str, threat: str, attack: str, value: float, n: int, **where: object) -> Iterator[Measure]:
    for metric, more, images in (("dice", 0.0, n), ("dice:skull", 0.1, n), ("dice:grey <matter>", -0.1, n - 3)):
        mean = value + more
        interval = (mean - 0.01, mean + 0.01)
        yield measure(target, threat, attack, metric, mean, images, interval=interval, **where)  # type: ignore[arg-type]
