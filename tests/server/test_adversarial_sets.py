"""A set is crafted once and found again; whatever was changed, truncated or put there by others is not used."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from common import progress
from common.description import Model
from common.errors import UserError
from common.folder import read_arrays, write_arrays
from server.adversarial_sets import AdversarialSets, Recipe, digest_of

EPS = 8 / 255
IMAGES = torch.randint(0, 256, (6, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6) % 2
RECIPE = Recipe("g" * 64, "pgd", EPS, 2 / 255, 10, 1, IMAGES, LABELS)


def legal(shift: float = EPS) -> Tensor:
    return (IMAGES.float() / 255 + shift).clamp(0, 1)


def never() -> Tensor:
    raise AssertionError("crafted again")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    sentences: list[str] = []
    monkeypatch.setattr(progress, "_say", sentences.append)
    return sentences


def file_of(sets: AdversarialSets) -> Path:
    (file,) = sets.path.glob("*/*.safetensors")
    return file


def test_a_set_is_crafted_once_and_found_by_others_bit_for_bit(tmp_path: Path) -> None:
    first, second = AdversarialSets(tmp_path / "sets"), AdversarialSets(tmp_path / "sets")
    made = first.crafted(RECIPE, legal)
    found = [first.crafted(RECIPE, never), second.crafted(replace(RECIPE, images=IMAGES.clone()), never)]
    assert all(torch.equal(each, made) and each.dtype == made.dtype for each in found)
    assert (first.crafts, first.hits, second.crafts, second.hits) == (1, 1, 0, 1)
    assert [path.name for path in file_of(first).parent.iterdir()] == [file_of(first).name]  # no lock stays


@pytest.mark.parametrize(
    "change",
    [
        {"generator": "h" * 64},
        {"attack": "fgsm"},
        {"eps": 9 / 255},
        {"step_size": 1 / 255},
        {"steps": 11},
        {"seed": 2},
        {"images": IMAGES.flip(0)},
        {"images": IMAGES[:5], "labels": LABELS[:5]},
        {"labels": 1 - LABELS},
    ],
    ids=lambda change: "+".join(change),
)
def test_another_recipe_is_another_set(change: dict) -> None:
    assert replace(RECIPE, **change).key() != RECIPE.key()


def test_a_user_s_attack_counts_by_its_content_and_not_by_its_place(tmp_path: Path) -> None:
    keys = []
    for folder, code in (("a", "x = 1"), ("b", "x = 1"), ("c", "x = 2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(code)
        keys.append(replace(RECIPE, attack=f"{tmp_path / folder / 'mine.py'}:attack").key())
    assert keys[0] == keys[1] != keys[2]


def test_the_number_of_threads_belongs_to_the_recipe() -> None:
    one = RECIPE.key()
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        assert RECIPE.key() != one
    finally:
        torch.set_num_threads(before)


def test_a_generator_is_its_network_its_weights_and_its_buffers() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    model.register_buffer("scale", torch.tensor(1.0))
    digest = digest_of(Model(), model, "fp32")
    assert digest_of(Model(), model, "fp32") == digest
    assert digest_of(Model(), model, "twin") != digest
    assert digest_of(Model(width=32), model, "fp32") != digest
    with torch.no_grad():
        model[0].weight[0, 0] += 1e-6
    assert (other := digest_of(Model(), model, "fp32")) != digest
    model.scale += 1
    assert digest_of(Model(), model, "fp32") not in (digest, other)


def test_equal_bytes_of_another_shape_or_type_are_another_generator() -> None:
    class Holder(nn.Module):
        def __init__(self, tensor: Tensor) -> None:
            super().__init__()
            self.register_buffer("only", tensor)

    tensors = (torch.zeros(2, 3), torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.int32))
    assert len({digest_of(Model(), Holder(tensor), "fp32") for tensor in tensors}) == 3


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)


def put_another(file: Path) -> None:
    other = AdversarialSets(file.parents[2] / "others")
    other.crafted(replace(RECIPE, seed=7), lambda: legal(-EPS))
    file.write_bytes(file_of(other).read_bytes())


def forge(images: Tensor, file: Path, **arrays: Tensor) -> None:
    """Write another set under the same name, with all that a set tells of itself."""
    sets = AdversarialSets(file.parents[1])
    file.unlink()
    sets.crafted(RECIPE, lambda: images)
    if arrays:
        write_arrays(file, arrays)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (truncate, "could not be read"),
        (empty, "could not be read"),
        (flip_a_bit, "does not hold what was written to it"),
        (put_another, "holds another set than its name says"),
        (lambda file: forge(legal(2 * EPS), file), "over the budget"),
        (lambda file: forge(IMAGES.float() / 255 - 1, file), "images live in"),
        (lambda file: forge(legal()[:4], file), "keep the shape"),
        (lambda file: forge(legal() * torch.nan, file), "NaN"),
        (lambda file: forge(legal(), file, other=torch.zeros(1)), "could not be read"),
    ],
    ids=["truncated", "empty", "a bit", "another set", "budget", "range", "shape", "NaN", "other names"],
)
def test_a_set_that_cannot_be_trusted_is_set_aside_told_and_crafted_again(
    tmp_path: Path, said: list[str], harm: object, words: str
) -> None:
    sets = AdversarialSets(tmp_path / "sets")
    made = sets.crafted(RECIPE, legal)
    file = file_of(sets)
    harm(file)  # type: ignore[operator]
    harmed = file.read_bytes()
    assert torch.equal(sets.crafted(RECIPE, legal), made)
    assert sets.hits == 0
    assert sets.crafts == 2
    (sentence,) = said
    assert words in sentence
    assert f"{file.name}.damaged" in sentence
    assert file.with_name(f"{file.name}.damaged").read_bytes() == harmed
    assert torch.equal(sets.crafted(RECIPE, never), made)


def test_a_process_that_needs_a_set_which_is_being_crafted_waits_for_it(tmp_path: Path, said: list[str]) -> None:
    begun, finish, found = threading.Event(), threading.Event(), []
    first, second = AdversarialSets(tmp_path), AdversarialSets(tmp_path)

    def slowly() -> Tensor:
        begun.set()
        assert finish.wait(60)
        return legal()

    def wait() -> None:
        found.append(second.crafted(RECIPE, never))

    threads = [threading.Thread(target=first.crafted, args=(RECIPE, slowly)), threading.Thread(target=wait)]
    threads[0].start()
    assert begun.wait(60)
    threads[1].start()
    while not said:
        threads[1].join(0.01)
    finish.set()
    for thread in threads:
        thread.join(60)
    assert "waiting for an adversarial set" in said[0]
    assert torch.equal(found[0], legal())
    assert (first.crafts, second.crafts, second.hits) == (1, 0, 1)


def test_a_process_that_dies_while_it_crafts_or_writes_leaves_the_set_to_others(tmp_path: Path) -> None:
    sets = AdversarialSets(tmp_path)
    number = os.fork()
    if number == 0:
        sets.crafted(RECIPE, lambda: os._exit(9))
    assert os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 9
    key = RECIPE.key()
    left = tmp_path / RECIPE.generator[:16] / f".{key}.safetensors.abc123"
    left.write_bytes(b"half of it")
    sets.crafted(RECIPE, legal)
    assert [path.name for path in left.parent.iterdir()] == [f"{key}.safetensors"]


def test_what_crafting_raises_is_raised_and_nothing_is_kept(tmp_path: Path) -> None:
    def fail() -> Tensor:
        raise UserError("the attack failed")

    sets = AdversarialSets(tmp_path)
    with pytest.raises(UserError, match="the attack failed"):
        sets.crafted(RECIPE, fail)
    assert list(sets.path.glob("*/*")) == []
    assert torch.equal(sets.crafted(RECIPE, legal), legal())


def test_a_full_or_forbidden_disk_costs_the_set_and_not_the_work(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    forbidden = AdversarialSets(tmp_path / "file" / "sets")
    assert torch.equal(forbidden.crafted(RECIPE, legal), legal())

    def fsync(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    full = AdversarialSets(tmp_path / "sets")
    assert torch.equal(full.crafted(RECIPE, legal), legal())
    assert "No space left on device" in said[-1]
    assert list(full.path.glob("*/*")) == []


def test_all_sets_or_those_of_one_generator_are_removed(tmp_path: Path) -> None:
    sets = AdversarialSets(tmp_path / "sets")
    other = replace(RECIPE, generator="h" * 64)
    for recipe in (RECIPE, replace(RECIPE, seed=2), other):
        sets.crafted(recipe, legal)
    sizes = {path: path.stat().st_size for path in sets.path.glob("*/*.safetensors")}
    mine = [size for path, size in sizes.items() if path.parent.name == "g" * 16]
    assert len(mine) == 2
    assert sets.remove(RECIPE.generator) == sum(mine)
    assert [path.name for path in sets.path.iterdir()] == ["h" * 16]
    truncate(file_of(sets))
    sets.crafted(other, legal)  # leaves a damaged one beside it
    assert sets.remove() > 0
    assert not sets.path.exists()
    assert sets.remove() == 0


def test_a_set_that_is_being_crafted_is_not_removed(tmp_path: Path) -> None:
    sets = AdversarialSets(tmp_path)

    def meanwhile() -> Tensor:
        assert AdversarialSets(tmp_path).remove() == 0
        return legal()

    sets.crafted(RECIPE, meanwhile)
    assert sets.crafted(RECIPE, never) is not None


def test_a_set_says_what_it_is(tmp_path: Path) -> None:
    from safetensors import safe_open

    sets = AdversarialSets(tmp_path)
    sets.crafted(RECIPE, legal)
    assert set(read_arrays(file_of(sets))) == {"images"}
    with safe_open(file_of(sets), "pt") as file:
        told = file.metadata()
    assert (told["attack"], float(told["eps"]), told["steps"], told["seed"]) == ("pgd", EPS, "10", "1")
