"""`psreval attack`: any saved run, any attack, nothing in its folder changed."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

import server.evaluator
from common.config import parse
from common.errors import UserError
from common.folder import RunFolder
from experiments.again import attack_run
from experiments.run import run

TINY = {
    "name": "tiny-again",
    "data": {"image_size": 28, "train_records": 60, "public_records": 24, "test_records": 24},
    "model": {"width": 4},
    "federation": {"rounds": 1},
    "evaluation": {"records": 6, "query_records": 3, "queries": 5, "steps": 2, "threats": ["white-box"]},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    server.evaluator.LATENCY_SECONDS = 0.05
    return run(parse(TINY, "tiny"), tmp_path_factory.mktemp("runs"))


def attack(path: Path, **changes: Any) -> dict[str, Any]:
    usual = {"name": "fgsm", "target": "int8", "gradients": None, "eps": "8/255", "step_size": "2/255", "steps": 2}
    return attack_run(path, **{**usual, "queries": 5, "records": 12, "seed": 0, **changes})


@pytest.mark.parametrize(
    ("changes", "gradients"),
    [
        ({}, "twin gradients"),
        ({"target": "fp32"}, "fp32 gradients"),
        ({"gradients": "fp32"}, "fp32 gradients"),
        ({"target": "fp32", "gradients": "twin"}, "twin gradients"),
        ({"name": "square"}, "queries"),
    ],
)
def test_any_target_by_any_gradients(saved: RunFolder, changes: dict, gradients: str) -> None:
    outcome = attack(saved.path, **changes)
    assert outcome["gradients"] == gradients
    assert outcome["records"] == 12
    assert 0 <= outcome["attacked"][1] <= outcome["attacked"][0] <= outcome["attacked"][2] <= 1


def test_no_budget_is_no_attack_and_the_folder_stays_as_it_was(saved: RunFolder) -> None:
    def digests() -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in saved.path.glob("*.*")}

    before = digests()
    outcome = attack(saved.path, eps="0")
    assert outcome["attacked"] == outcome["clean"]
    assert digests() == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "pgdd"}, "did you mean 'pgd'"),
        ({"target": "int4"}, "--target int4"),
        ({"gradients": "fp16"}, "--gradients fp16"),
        ({"eps": "8"}, "'8/255'"),
        ({"eps": "lots"}, "eps = 'lots'"),
    ],
)
def test_mistakes_are_sentences(saved: RunFolder, changes: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        attack(saved.path, **changes)


def test_a_truncated_model_is_named(saved: RunFolder, tmp_path: Path) -> None:
    copy = RunFolder(tmp_path / saved.path.name)
    copy.path.mkdir()
    for path in saved.path.glob("*.*"):
        (copy.path / path.name).write_bytes(path.read_bytes())
    copy.model.write_bytes(saved.model.read_bytes()[:100])
    with pytest.raises(UserError, match=r"model.safetensors could not be read"):
        attack(copy.path)
