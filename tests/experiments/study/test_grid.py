"""Grids: which cells a study file means."""

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from experiments.study.description import load_study
from experiments.study.grid import Cell, cells_of, count, points

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(name: str = "study", **keys: Any) -> Path:
        path = tmp_path / f"{name}.toml"
        path.write_text(tomli_w.dumps({"name": name, **keys}))
        return path

    return make


def cells(path: Path, **options: Any) -> list[Cell]:
    return list(cells_of(load_study(path, **options)))


def test_a_list_is_an_axis_over_its_key(write: Write) -> None:
    found = cells(write(axes={"model.width": [8, 16], "federation.rounds": [1, 2, 3]}))
    assert [(c.experiment.model.width, c.experiment.federation.rounds) for c in found] == [
        (8, 1), (8, 2), (8, 3), (16, 1), (16, 2), (16, 3),
    ]  # fmt: skip
    assert dict(found[-1].coordinates) == {"model.width": "16", "federation.rounds": "3"}


def test_lists_of_one_table_vary_together(write: Write) -> None:
    found = cells(write(axes={"size": {"model.width": [8, 16], "federation.rounds": [1, 2]}}))
    assert [(c.experiment.model.width, c.experiment.federation.rounds) for c in found] == [(8, 1), (16, 2)]
    assert [dict(c.coordinates) for c in found] == [{"size": "8"}, {"size": "16"}]


def test_tables_of_one_table_are_named_points(write: Write) -> None:
    axis = {"none": {}, "private": {"privacy.enabled": True, "privacy.epsilon": 3.4}}
    found = cells(write(axes={"privacy": axis}))
    assert [c.coordinates["privacy"] for c in found] == ["none", "private"]
    assert [c.experiment.privacy.enabled for c in found] == [False, True]
    assert found[1].experiment.privacy.epsilon == 3.4


def test_each_repeat_has_a_seed_of_its_own_and_its_generator_that_of_the_next(write: Write) -> None:
    changes = {"seed": 7, "evaluation.generators": [{"name": "other"}, {"name": "fixed", "changes": {"seed": 99}}]}
    found = cells(write(repeats=3, changes=changes))
    assert [c.repeat for c in found] == [0, 1, 2]
    assert [c.experiment.seed for c in found] == [7, 8, 9]
    assert [c.experiment.evaluation.generators[0].changes["seed"] for c in found] == [8, 9, 7]
    assert {c.experiment.evaluation.generators[1].changes["seed"] for c in found} == {99}


def test_a_single_repeat_has_a_generator_of_another_seed(write: Write) -> None:
    (found,) = cells(write(changes={"evaluation.generators": [{"name": "other"}]}))
    assert found.experiment.evaluation.generators[0].changes["seed"] == found.experiment.seed + 1


def test_grids_lie_side_by_side_and_share_the_studys_axes(write: Write) -> None:
    grids = [{}, {"changes": {"training.batch_size": 32}, "axes": {"federation.rounds": [4, 5]}}]
    found = cells(write(axes={"model.width": [8, 16]}, grids=grids))
    told = [(c.experiment.model.width, c.experiment.training.batch_size, c.experiment.federation.rounds) for c in found]
    assert told == [(8, 64, 3), (16, 64, 3), (8, 32, 4), (8, 32, 5), (16, 32, 4), (16, 32, 5)]


def test_a_scale_changes_sizes_repeats_and_the_values_of_axes(write: Write) -> None:
    scale = {"small": {"repeats": 1, "changes": {"model.width": 4}, "axes": {"federation.rounds": [9]}}, "paper": {}}
    path = write(repeats=2, axes={"federation.rounds": [1, 2]}, scale=scale)
    (small,) = cells(path)
    assert (small.experiment.model.width, small.experiment.federation.rounds) == (4, 9)
    assert len(cells(path, scale="paper")) == 4


@pytest.mark.parametrize("key", ["model.width", "model"])
def test_the_command_line_cannot_change_what_an_axis_varies(write: Write, key: str) -> None:
    with pytest.raises(UserError, match=rf"--set {key}: .* along its axis 'model\.width'"):
        cells(write(axes={"model.width": [8, 16]}), changes={key: 32})


def test_the_command_line_wins_over_everything_else(write: Write) -> None:
    scale = {"small": {"changes": {"federation.rounds": 5}}}
    found = cells(write(axes={"model.width": [8, 16]}, scale=scale), changes={"federation.rounds": 7})
    assert {c.experiment.federation.rounds for c in found} == {7}


def test_included_studies_bring_their_cells_at_the_same_scale(write: Write) -> None:
    scale = {"small": {}, "large": {"changes": {"model.width": 128}}}
    write("first", axes={"federation.rounds": [1, 2]}, scale=scale)
    found = cells(write("second", include=["first.toml"], scale=scale), scale="large")
    assert [c.study for c in found] == ["first", "first"]
    assert {c.experiment.model.width for c in found} == {128}


@given(sizes=st.lists(st.integers(1, 4), max_size=3), repeats=st.integers(1, 3))
def test_the_count_is_the_product_of_all_axes(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], repeats: int
) -> None:
    keys = ("federation.rounds", "training.batch_size", "data.seed")
    axes = {key: list(range(1, size + 1)) for key, size in zip(keys, sizes, strict=False)}
    path = tmp_path_factory.mktemp("study") / "study.toml"
    path.write_text(tomli_w.dumps({"name": "study", "repeats": repeats, "axes": axes}))
    study = load_study(path)
    assert count(study) == repeats * prod(sizes) == len(list(cells_of(study)))


def test_a_million_cells_are_counted_without_being_made(write: Write) -> None:
    axes = {f"clients.0.options.x{number}": list(range(100)) for number in range(3)}
    assert count(load_study(write(axes=axes))) == 1_000_000


def test_an_unknown_key_is_named_with_its_cell(write: Write) -> None:
    with pytest.raises(UserError, match=r"study\.toml at model\.widht = 8: .*widht.*unknown"):
        cells(write(axes={"model.widht": [8]}))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([], "give a list"),
        ({}, "give a list"),
        (3, "give a list"),
        ({"a": [1, 2], "b": [1]}, "a has 2, b has 1"),
        ({"a": [1], "b": {"c": 1}}, "give a list"),
    ],
)
def test_what_is_no_axis_is_refused(value: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        points("axis", value, "study.toml")


def test_an_axis_lies_over_what_a_grid_says_of_the_same_table(write: Write) -> None:
    options = {"clients": [{"strategy": "data-poisoner"}, {}], "clients.0.options.attack": "fab"}
    grids = [{"changes": {"clients.0.options": {"labels": "true"}}}]
    found = cells(write(changes=options, axes={"clients.0.options.attack": ["fgsm", "pgd"]}, grids=grids))
    assert [c.experiment.clients[0].options for c in found] == [
        {"labels": "true", "attack": "fgsm"},
        {"labels": "true", "attack": "pgd"},
    ]


def test_values_that_share_a_first_key_are_told_apart(write: Write) -> None:
    found = cells(write(axes={"size": {"federation.rounds": [1, 1], "model.width": [8, 16]}}))
    assert [c.coordinates["size"] for c in found] == ["1, 8", "1, 16"]


def test_a_value_twice_is_refused(write: Write) -> None:
    with pytest.raises(UserError, match=r"axes\.model\.width has the value 8 twice"):
        cells(write(axes={"model.width": [8, 16, 8]}))
