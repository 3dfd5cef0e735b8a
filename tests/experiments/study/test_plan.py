"""Plans: everything once, in an order that works, and what the store has is not done again."""

from pathlib import Path
from typing import Any

import pytest

from common.config import parse
from common.errors import UserError
from common.folder import read_json, write_json
from experiments.run import run, train
from experiments.study.grid import Cell
from experiments.study.plan import Datasets, canonical, plan
from server.app import run_folder

TINY = {
    "name": "tiny",
    "data": {"image_size": 28, "train_records": 40, "public_records": 16, "test_records": 16},
    "model": {"width": 4},
    "training": {"batch_size": 16},
    "federation": {"rounds": 1},
    "clients": [{"name": "a"}, {"name": "b"}],
    "evaluation": {"records": 8, "threats": ["white-box"], "steps": 1},
}
DATASETS = Datasets()


def cell(repeat: int = 0, study: str = "test", **changes: Any) -> Cell:
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return Cell(study, dict.fromkeys(dotted, "x"), repeat, parse(TINY, "tiny").change(dotted))


def twin(**changes: Any) -> dict[str, Any]:
    generator = {"name": "other", "changes": changes}
    return {"evaluation__threats": ["transfer"], "evaluation__generators": [generator]}


def test_equal_descriptions_are_one_evaluation(tmp_path: Path) -> None:
    planned = plan([cell(), cell(study="another"), cell(seed=2)], tmp_path, DATASETS)
    assert [len(one.cells) for one in planned.evaluations] == [2, 1]
    assert len(planned.to_evaluate()) == 2


def test_evaluations_of_one_federation_train_it_once(tmp_path: Path) -> None:
    budgets = [cell(evaluation__eps=eps) for eps in (0.01, 0.02, 0.03)]
    planned = plan([*budgets, cell(seed=2)], tmp_path, DATASETS)
    assert len(planned.to_evaluate()) == 4
    assert len(planned.to_train()) == 2
    assert len({one.federation for one in planned.evaluations[:3]}) == 1


def test_a_generator_that_is_a_cell_of_the_study_is_not_trained_again(tmp_path: Path) -> None:
    cells = [cell(seed=seed, **twin(seed=3 - seed)) for seed in (1, 2)]
    planned = plan(cells, tmp_path, DATASETS)
    first, second = planned.evaluations
    assert first.generators == {"other": second.federation}
    assert second.generators == {"other": first.federation}
    assert len(planned.to_train()) == 2


def test_a_generator_of_its_own_is_trained_too(tmp_path: Path) -> None:
    planned = plan([cell(**twin(seed=5))], tmp_path, DATASETS)
    assert {one.experiment.seed for one in planned.to_train()} == {1, 5}


def test_a_canonical_description_is_the_same_federation_whatever_is_evaluated(tmp_path: Path) -> None:
    one, other = cell().experiment, cell(evaluation__eps=0.5, name="else", thresholds__epsilon=2.0).experiment
    assert canonical(one) == canonical(other)
    assert canonical(one).digest("x", federation_only=True) == other.digest("x", federation_only=True)


def test_a_trained_federation_is_found_under_any_name(tmp_path: Path) -> None:
    experiment = cell().experiment
    train(experiment, DATASETS.of(experiment.data), tmp_path, "inprocess")
    planned = plan([cell(evaluation__eps=0.5)], tmp_path, DATASETS)
    assert planned.to_train() == ()
    assert len(planned.to_evaluate()) == 1


def test_a_damaged_federation_is_set_aside_and_trained_again(tmp_path: Path) -> None:
    described = canonical(cell().experiment)
    folder = train(described, DATASETS.of(described.data), tmp_path, "inprocess")
    folder.model.write_bytes(folder.model.read_bytes()[:100])
    planned = plan([cell()], tmp_path, DATASETS)
    assert len(planned.to_train()) == 1
    assert len(planned.aside) == 1
    assert "model.safetensors" in planned.aside[0]
    assert not folder.model.exists()
    assert list((tmp_path / ".aside").glob("*/model.safetensors"))


@pytest.mark.parametrize(
    "changes", [{"data.image_size": 32}, {"model.name": "resnet18"}, {"model.width": 8}], ids=lambda c: next(iter(c))
)
def test_a_generator_that_does_not_fit_is_refused_before_anything_is_trained(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match="'other' does not fit"):
        plan([cell(**twin(**changes))], tmp_path, DATASETS)
    assert list(tmp_path.iterdir()) == []


def test_a_generator_that_is_the_attacked_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is the attacked model itself"):
        plan([cell(**twin(seed=1))], tmp_path, DATASETS)


def test_no_cells_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no cells"):
        plan([], tmp_path, DATASETS)


def test_the_folder_of_a_cell_is_that_of_the_same_run(tmp_path: Path) -> None:
    (one,) = plan([cell()], tmp_path, DATASETS).evaluations
    experiment = cell().experiment
    assert one.folder == run_folder(tmp_path, experiment, DATASETS.of(experiment.data))


def test_looking_only_leaves_a_damaged_run_where_it_is(tmp_path: Path) -> None:
    described = canonical(cell().experiment)
    folder = train(described, DATASETS.of(described.data), tmp_path, "inprocess")
    folder.model.write_bytes(folder.model.read_bytes()[:100])
    planned = plan([cell()], tmp_path, DATASETS, look_only=True)
    assert len(planned.to_train()) == 1
    assert "model.safetensors" in planned.aside[0]
    assert folder.model.exists()
    assert not (tmp_path / ".aside").exists()


def test_transfer_without_a_generator_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs at least one"):
        plan([cell(evaluation__threats=["transfer"])], tmp_path, DATASETS)


def test_attacks_that_cannot_be_scored_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'pgd' needs gradients"):
        plan([cell(evaluation__query_attacks=["pgd"], evaluation__threats=["query"])], tmp_path, DATASETS)


def test_an_evaluation_that_was_killed_before_its_end_is_not_finished(tmp_path: Path) -> None:
    experiment = cell().experiment
    folder = run(experiment, tmp_path)
    (one,) = plan([cell()], tmp_path, DATASETS).evaluations
    assert one.finished
    told = read_json(folder.manifest)
    write_json(folder.manifest, told | {"seconds": {"federation": 1.0}, "bytes": {}, "finished": None})
    (one,) = plan([cell()], tmp_path, DATASETS).evaluations
    assert not one.finished
