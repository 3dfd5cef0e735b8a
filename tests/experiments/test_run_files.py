import re
from pathlib import Path

import pytest
import torch

from common.errors import UserError
from common.folder import RunFolder, read_arrays, read_json, write_arrays, write_json, write_text
from experiments.run_files import read_run


@pytest.mark.parametrize(
    "name", ["manifest.json", "partition.json", "rounds.jsonl", "ledger.json", "results.csv", "evaluation.json"]
)
def test_an_unfinished_run_is_refused_with_the_command_that_resumes_it(finished_run: RunFolder, name: str) -> None:
    (finished_run.path / name).unlink()
    with pytest.raises(
        UserError, match=re.escape(f"{name} missing; resume it with: psreval run {finished_run.experiment}")
    ):
        read_run(finished_run)


def test_a_folder_that_is_no_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run's folder"):
        read_run(RunFolder(tmp_path))


@pytest.mark.parametrize(
    "name",
    ["experiment.toml", "manifest.json", "partition.json", "rounds.jsonl", "ledger.json", "results.csv",
     "evaluation.json", "examples.safetensors"],
)  # fmt: skip
@pytest.mark.parametrize("damage", ["truncated", "binary", "other"])
def test_a_damaged_file_is_named(finished_run: RunFolder, name: str, damage: str) -> None:
    path = finished_run.path / name
    content = path.read_bytes()
    end = content.rindex(b'"') if name == "experiment.toml" else len(content) * 2 // 3
    path.write_bytes({"truncated": content[:end], "binary": b"\xff\xfe\x00\x01", "other": b"[]"}[damage])
    with pytest.raises(UserError, match=re.escape(str(path))):
        read_run(finished_run)


def test_a_value_of_the_wrong_kind_is_named_with_its_place(finished_run: RunFolder) -> None:
    evaluation = read_json(finished_run.evaluation)
    evaluation["verdict"]["robust"]["holds"] = "maybe"
    write_json(finished_run.evaluation, evaluation)
    with pytest.raises(UserError, match=r"evaluation\.json.*verdict\.robust\.holds"):
        read_run(finished_run)


def test_a_number_that_is_none_is_refused(finished_run: RunFolder) -> None:
    write_text(finished_run.ledger, finished_run.ledger.read_text().replace("6.9", "NaN"))
    with pytest.raises(UserError, match=re.escape(str(finished_run.ledger))):
        read_run(finished_run)


def test_examples_of_a_class_that_is_none_are_refused(finished_run: RunFolder) -> None:
    arrays = read_arrays(finished_run.examples)
    write_arrays(finished_run.examples, arrays | {"labels": arrays["labels"] + 2}, {"eps": "0.1"})
    with pytest.raises(UserError, match=r"examples\.safetensors names a class"):
        read_run(finished_run)
    write_arrays(finished_run.examples, arrays | {"labels": torch.zeros(1, dtype=torch.int64)})
    with pytest.raises(UserError, match=r"examples\.safetensors.*do not match"):
        read_run(finished_run)


def test_masks_among_the_examples_must_fit_the_images(masked_run: RunFolder) -> None:
    arrays = read_arrays(masked_run.examples)
    found = read_run(masked_run).examples
    assert found is not None
    assert found.labels.shape == (6, 32, 32)
    write_arrays(masked_run.examples, arrays | {"labels": arrays["labels"][:, :5].contiguous()})
    with pytest.raises(UserError, match=r"examples\.safetensors.*do not match"):
        read_run(masked_run)
