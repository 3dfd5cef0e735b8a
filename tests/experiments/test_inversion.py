"""The whole comparison, at a size that shows nothing but that all of it runs."""

import json
from pathlib import Path

import pytest

from experiments.inversion import SHOWN, guesses, main, scenes, uniformity
from experiments.inversion_views import World, world


@pytest.fixture(scope="module")
def place() -> World:
    return world(width=4, records=900)


def test_every_view_is_of_the_first_images_and_of_no_more_labels_than_images(place: World) -> None:
    for scene in [*scenes(place), *guesses(place)]:
        view = scene.view(0)
        assert (view.truth[0] == place.pool[0]).all(), scene.what
        assert len(view.labels) == scene.together <= len(view.truth), scene.what
        assert scene.repeats * scene.together >= SHOWN, scene.what


def test_scenes_have_names_of_their_own(place: World) -> None:
    names = [(scene.who, scene.what) for scene in [*scenes(place), *guesses(place)]]
    assert len(set(names)) == len(names)


def test_shares_of_a_coalition_are_uniform_and_say_nothing_of_votes(place: World) -> None:
    found = uniformity(place, 2)
    assert min(found.kolmogorov_smirnov, found.chi_square) > 1e-4
    assert abs(found.agreement - 0.5) < 0.02
    assert found.above == 1


def test_it_writes_a_figure_a_table_and_all_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--docs", str(tmp_path), "--steps", "1", "--repeats", "1", "--width", "4"])
    figures = tmp_path / "figures"
    assert (figures / "inversion.svg").stat().st_size < 300_000
    text = (figures / "tables" / "inversion.md").read_text()
    told = json.loads((figures / "tables" / "inversion.json").read_text())
    assert len(told["rows"]) == 15
    assert all(row["who"] in text and row["what"] in text for row in told["rows"])
    assert "BrainTorrent" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--steps", "0"], "must be at least 1"), (["--repeats", "0"], "must be at least 1"), (["--width", "2"], "width")],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--docs", str(tmp_path)])
    assert ended.value.code in (1, 2)
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
