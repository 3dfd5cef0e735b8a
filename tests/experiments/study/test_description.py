"""Study files: what is read, and what is refused with a sentence."""

from pathlib import Path

import pytest

from common.errors import UserError
from experiments.study.description import PAPER, load_study
from experiments.study.grid import cells_of, count
from experiments.study.setting import setting_of


def written(tmp_path: Path, text: str, name: str = "study.toml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_the_small_scale_is_the_default(tmp_path: Path) -> None:
    path = written(tmp_path, 'name = "s"\n[scale.paper]\n[scale.small]\n')
    assert load_study(path).scale == "small"
    assert load_study(path, "paper").scale == "paper"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('name = "s"\nrepeats = 0', r"repeats = 0: .*greater than or equal to 1"),
        ('name = "s"\nfigure = "grid"', r"figure: unknown key"),
        ('name = "s"\n[scale.small.axes]\nshare = [1]', r"scale\.axes\.share replaces no axis"),
        ('name = "s"\n[scale.small]\n[scale.full.axes]\nshare = [1]', r"scale\.axes\.share replaces no axis"),
        ("name = ", "not valid TOML"),
        ('name = "s"\n[federation]\nrounds = 3', "is an experiment, not a study"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        load_study(written(tmp_path, text))


def test_a_missing_file_and_an_unknown_scale_are_named(tmp_path: Path) -> None:
    path = written(tmp_path, 'name = "s"\n[scale.small]')
    with pytest.raises(UserError, match=r"no file .*stdy\.toml.*study\.toml"):
        load_study(tmp_path / "stdy.toml")
    with pytest.raises(UserError, match=r"--scale smal.*small"):
        load_study(path, "smal")


def test_includes_in_a_circle_are_refused(tmp_path: Path) -> None:
    written(tmp_path, 'name = "a"\ninclude = ["b.toml"]', "a.toml")
    written(tmp_path, 'name = "b"\ninclude = ["a.toml"]', "b.toml")
    with pytest.raises(UserError, match=r"circle \(a\.toml includes b\.toml includes a\.toml\)"):
        load_study(tmp_path / "a.toml")


STUDIES = sorted(path.stem for path in PAPER.glob("*.toml"))


def test_all_six_of_the_papers_studies_are_there() -> None:
    assert STUDIES == ["claims", "fig2", "fig3", "fig4", "fig5", "table-accuracy"]


@pytest.mark.parametrize("name", STUDIES)
def test_scales_of_the_papers_studies_differ_in_their_scale_table_only(name: str) -> None:
    path = PAPER / f"{name}.toml"
    small, paper = load_study(path, "small"), load_study(path, "paper")
    assert small.file == paper.file
    assert set(small.file.scale) == {"small", "paper", "phantom"}
    assert paper.repeats == 10
    assert small.repeats >= 3


@pytest.mark.parametrize("scale", ["small", "phantom"])
@pytest.mark.parametrize("name", STUDIES)
def test_every_cell_of_the_papers_studies_is_a_valid_experiment(name: str, scale: str) -> None:
    study = load_study(PAPER / f"{name}.toml", scale)
    cells = list(cells_of(study))
    assert len(cells) == count(study)
    assert all(cell.experiment.evaluation.seed == 1 for cell in cells)  # attacked on the same images


def test_figure_5_holds_a_tenth_to_four_tenths_of_all_records() -> None:
    settings = {setting_of(cell.experiment) for cell in cells_of(load_study(PAPER / "fig5.toml", "paper"))}
    attacked = {setting for setting in settings if setting.use == "train-time attack"}
    assert {setting.share for setting in attacked} == {0.1, 0.2, 0.3, 0.4}
    assert {setting.attack for setting in attacked} == {"fgsm", "pgd", "fab"}
    assert {setting.epsilon for setting in attacked} == {None, 3.4}
    assert {setting.use for setting in settings} == {"none", "train-time attack"}


def test_the_table_has_all_the_papers_axes() -> None:
    study = load_study(PAPER / "table-accuracy.toml", "paper")
    own = [other for other in [study] if other.file.name == "table-accuracy"]
    assert count(study) - sum(count(other) for other in study.included) == 10 * 592
    settings = {setting_of(c.experiment) for c in cells_of(own[0]) if c.repeat == 0}
    assert {s.data for s in settings} == {"CIFAR-10", "Chest X-rays"}
    assert {s.model for s in settings} == {"ResNet-9", "ResNet-18"}
    assert {s.epsilon for s in settings} == {None, 7.0, 3.4, 1.7}
    assert {s.use for s in settings} == {"none", "adversarial training", "train-time attack", "both"}


def test_a_study_without_scales_passes_the_asked_one_to_what_it_includes(tmp_path: Path) -> None:
    written(tmp_path, 'name = "a"\n[scale.small]\n[scale.large]\n', "a.toml")
    path = written(tmp_path, 'name = "b"\ninclude = ["a.toml"]', "b.toml")
    study = load_study(path, "large")
    assert (study.scale, study.included[0].scale) == ("large", "large")
    with pytest.raises(UserError, match=r"--scale bogus"):
        load_study(path, "bogus")


def test_a_scale_that_a_study_without_scales_cannot_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--scale paper: .* no scales at all"):
        load_study(written(tmp_path, 'name = "s"'), "paper")
