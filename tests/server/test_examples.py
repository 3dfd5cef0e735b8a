"""The examples of the report: whose images they are, what was said of just these, and which of all are chosen."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from common.folder import RunFolder
from common.records import Records, as_float
from server.adversaries import QUERIES, Answers, Scored
from server.examples import EXAMPLES, write_examples
from server.marks import Marks

IMAGES, CLASSES = 8, 512
SETS = {
    ("fp32", "fgsm"): [("fp32", "white-box", "fp32"), ("int8", "white-box", "fp32"), ("int8", "insider", "fp32")],
    ("fp32", "pgd"): [("fp32", "white-box", "fp32"), ("int8", "white-box", "fp32"), ("int8", "insider", "fp32")],
    ("twin", "fgsm"): [("int8", "white-box", "twin")],
    ("twin", "pgd"): [("int8", "white-box", "twin")],
    ("other", "pgd"): [("fp32", "transfer", "other"), ("int8", "transfer", "other")],
    ("third", "pgd"): [("fp32", "transfer", "third"), ("int8", "transfer", "third")],
    ("query fp32", "square"): [("fp32", "query", "")],
    ("query int8", "square"): [("int8", "query", ""), ("int8", "white-box", QUERIES)],
}
"""(generator, attack) → (target, threat, generator) of each answer, in the order in which they are scored."""
QUERIED = np.array([5, 2, 7])


def made(kept: Sequence[tuple[str, str]]) -> tuple[Answers, Records, Marks]:
    """Return answers to these sets, all attacked records, and what int8 said of them before.

    Each number tells where it belongs: image i shows i, of set s it shows s, too, and answer a to it is class 16a + i.
    Of any set int8 has every other image wrong, so that what is shown is not simply the first.
    """
    answers = Answers()
    for number, (key, scored) in enumerate(SETS.items()):
        if key not in kept:
            continue
        index = QUERIED if key[1] == "square" else np.arange(IMAGES)
        answers.adversarial[key] = shown(torch.from_numpy(index), number)
        for repeat in (0, 1) if key[1] == "pgd" else (0,):
            for target, threat, generator in scored:
                said = 16 * len(answers.scored) + index
                answers.scored.append(Scored(target, threat, key[1], generator, repeat, index, marks(said, index % 2)))
    records = Records((shown(torch.arange(IMAGES), 0) * 255).to(torch.uint8), torch.arange(IMAGES))
    return answers, records, marks(np.arange(IMAGES), np.ones(IMAGES))


def shown(places: Tensor, number: int) -> Tensor:
    """Return grey images of two pixels: the first shows which image it is, the second of which set."""
    return torch.stack([places / 255, torch.full((len(places),), number / 255)], dim=1).reshape(-1, 1, 1, 2)


def marks(said: np.ndarray, right: np.ndarray) -> Marks:
    return Marks(right.astype(float), np.eye(CLASSES, dtype=np.float32)[said])


def written(folder: Path, *given: object, eps: float = 0.1) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return what ``examples.safetensors`` holds, and its facts."""
    write_examples(RunFolder(folder), *given, nn.Identity(), eps)  # type: ignore[arg-type]
    with safe_open(RunFolder(folder).examples, "np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


@pytest.mark.parametrize(
    ("kept", "key", "threat"),
    [
        (tuple(SETS), ("twin", "pgd"), "white-box"),
        ([key for key in SETS if key[0] != "twin"], ("fp32", "pgd"), "white-box"),
        ([key for key in SETS if key[1] != "pgd"], ("fp32", "fgsm"), "white-box"),
        ([("other", "pgd"), ("third", "pgd")], ("other", "pgd"), "transfer"),
        ([("query fp32", "square"), ("query int8", "square")], ("query int8", "square"), "query"),
    ],
)
def test_images_stand_beside_what_int8_said_of_just_these(
    tmp_path: Path, kept: Sequence[tuple[str, str]], key: tuple[str, str], threat: str
) -> None:
    answers, records, clean = made(kept)
    arrays, facts = written(tmp_path, answers, records, clean, eps=0.03)
    assert facts == {"target": "int8", "threat": threat, "attack": key[1], "eps": "0.03"}
    before, after = (np.rint(255 * arrays[name]).astype(int) for name in ("clean", "adversarial"))
    places = before[:, 0, 0, 0]
    assert set(places) <= set(QUERIED if threat == "query" else range(IMAGES))
    assert set(after[:, 0, 0, 1]) == {list(SETS).index(key)}
    for name in ("labels", "clean_prediction"):
        assert arrays[name].tolist() == places.tolist(), name
    assert after[:, 0, 0, 0].tolist() == places.tolist()
    (number,) = {int(said) // 16 for said in arrays["adversarial_prediction"]}
    answer = answers.scored[number]
    assert (answer.target, answer.threat, answer.attack, answer.repeat) == ("int8", threat, key[1], 0)
    assert answer.generator == ("" if threat == "query" else key[0])
    assert (arrays["adversarial_prediction"] % 16).tolist() == places.tolist()


@pytest.mark.parametrize("kept", [[], [("query fp32", "square")]])
def test_where_int8_was_asked_for_nothing_there_are_no_examples(tmp_path: Path, kept: list[tuple[str, str]]) -> None:
    answers, records, clean = made(kept)
    write_examples(RunFolder(tmp_path), answers, records, clean, nn.Identity(), 0.1)
    assert not RunFolder(tmp_path).examples.exists()


def chosen(folder: Path, truth: list[int], before: list[float], after: list[float]) -> list[int]:
    """Return the places of the images that are shown, of images that int8 scored like that."""
    number = len(truth)
    answers = Answers(adversarial={("twin", "pgd"): shown(torch.arange(number), 0)})
    said = np.zeros((number, 3), np.float32)
    scored = Marks(np.array(after), said)
    answers.scored = [Scored("int8", "white-box", "pgd", "twin", 0, np.arange(number), scored)]
    records = Records((shown(torch.arange(number), 0) * 255).to(torch.uint8), torch.tensor(truth))
    arrays, _ = written(folder, answers, records, Marks(np.array(before), said))
    return [int(place) for place in np.rint(255 * arrays["clean"][:, 0, 0, 0])]


def test_what_was_right_and_is_wrong_comes_first_then_what_stayed_right_then_what_was_wrong(tmp_path: Path) -> None:
    before, after = [0, 1, 1, 0, 1, 1, 0, 1], [0, 1, 0, 1, 0, 1, 0, 0]
    # Of one class: fooled are 2, 4 and 7; 1 and 5 stayed right; 0, 3 and 6 were wrong before, of which 3 is right now.
    assert chosen(tmp_path, [0] * 8, before, after) == [2, 4, 7, 1, 5, 0]
    assert len(chosen(tmp_path, [0] * 20, [1] * 20, [0] * 20)) == EXAMPLES == 6


def test_classes_take_turns_so_that_not_all_are_of_one_kind(tmp_path: Path) -> None:
    truth = [0, 0, 0, 0, 1, 1, 2, 2]
    after = [0, 0, 0, 0, 1, 0, 1, 1]  # fooled are all of class 0 and one of class 1
    # First turn: the first fooled of each class, and of class 2 the first; then the second ones; 7 images are too many.
    assert chosen(tmp_path, truth, [1] * 8, after) == [0, 5, 6, 1, 4, 7]


def test_masks_that_lost_most_are_shown_as_the_deployed_model_draws_them(tmp_path: Path) -> None:
    clean = Marks(np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]), structures=np.ones((8, 2)))
    after = Marks(np.array([0.9, 0.1, 0.6, 0.0, 0.4, 0.1, 0.3, 0.4]), structures=np.ones((8, 2)))
    # Lost: 0, .7, .1, .6, .1, .3, 0, and the last has gained.
    images = (torch.arange(8) * 30).to(torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    masks = torch.arange(8).remainder(2).reshape(-1, 1, 1).expand(-1, 2, 2).contiguous()
    everyone = np.arange(8)
    adversarial = 1 - as_float(images)
    answers = Answers([Scored("int8", "white-box", "pgd", "twin", 0, everyone, after)], {("twin", "pgd"): adversarial})

    class Bright(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.cat([0.5 - images, images - 0.5], dim=1)

    write_examples(RunFolder(tmp_path), answers, Records(images, masks), clean, Bright(), 0.1)
    with safe_open(RunFolder(tmp_path).examples, "np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    places = [1, 3, 5, 2, 4, 0]
    assert np.array_equal(arrays["clean"], as_float(images)[places])
    assert np.array_equal(arrays["adversarial"], adversarial[places])
    assert np.array_equal(arrays["labels"], masks[places])
    assert np.array_equal(arrays["clean_prediction"], arrays["clean"][:, 0] > 0.5)
    assert np.array_equal(arrays["adversarial_prediction"], arrays["adversarial"][:, 0] > 0.5)
    assert all(arrays[name].dtype == np.uint8 for name in ("labels", "clean_prediction", "adversarial_prediction"))
