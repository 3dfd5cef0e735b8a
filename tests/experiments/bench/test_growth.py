"""The growth bench: its fits on laws that are known, its points in a program of their own, figures and tables."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from common.code import ROOT
from experiments.bench import growth as bench
from experiments.bench import growth_point
from experiments.bench.growth import main, measured, write
from experiments.bench.growth_axes import AXES, CLIENTS, IMAGES, ROUNDS, WIDTH
from experiments.bench.growth_figures import figure
from experiments.bench.growth_fit import bends, cost, exponent, power_law, terms
from experiments.bench.growth_page import section
from experiments.bench.growth_series import BYTES, SECONDS, amount, growing, in_words, plain, series
from experiments.bench.page import KEPT

SIZES = [2.0, 4.0, 8.0, 32.0, 128.0, 1000.0]


@pytest.mark.parametrize("power", [0.0, 1.0, 2.5])
def test_a_power_law_has_its_exponent(power: float) -> None:
    points = [(x, 7 * x**power) for x in SIZES]
    assert power_law(points) == pytest.approx((7, power))
    assert exponent(points) == pytest.approx(power)


@given(st.floats(0.1, 10), st.floats(0.01, 1), st.floats(1e-4, 1e-2))
def test_terms_are_found_again(once: float, each: float, pairs: float) -> None:
    def whole(x: float) -> float:
        return once + each * x + pairs * x**2

    made_of = terms([(x, whole(x)) for x in SIZES])
    assert [cost(made_of, x) for x in SIZES] == pytest.approx([whole(x) for x in SIZES], rel=0.06)


def test_terms_are_exact_where_all_of_them_count_and_none_is_made_up() -> None:
    assert terms([(x, 3 + 0.5 * x + 0.01 * x**2) for x in SIZES]) == pytest.approx({0: 3, 1: 0.5, 2: 0.01})
    assert terms([(x, 0.5 * x) for x in SIZES]) == pytest.approx({1: 0.5})
    assert terms([(x, 3 + 0.5 * x) for x in SIZES]) == pytest.approx({0: 3, 1: 0.5})
    falling = terms([(x, 1 / x) for x in SIZES])
    assert set(falling) <= {0, 1, 2}
    assert all(value > 0 for value in falling.values())


def test_terms_are_no_more_than_points() -> None:
    assert terms([(2.0, 5.0)]) == pytest.approx({0: 5})
    assert terms([(2.0, 5.0), (4.0, 9.0)]) == pytest.approx({0: 1, 1: 2})
    assert set(terms([(2.0, 5.0), (4.0, 17.0)])) <= {0, 1}


def test_a_cost_bends_where_one_term_overtakes_another() -> None:
    assert bends({0: 8.0, 1: 0.5}) == pytest.approx([16])
    assert bends({0: 8.0, 1: 0.5, 2: 0.001}) == pytest.approx([16, 500])
    assert bends({0: 8.0, 2: 0.5}) == pytest.approx([4])
    assert bends({1: 8.0}) == []


def points(axis_values: tuple[int, ...], seconds: float, more: float = 1.1) -> list[dict[str, Any]]:
    """Return made-up points: so many seconds and a MiB for each of the size, and once as much as for eight."""
    return [
        {
            "x": x,
            "prepared": {"cpu": 0.25, "wall": 0.3, "memory": 0},
            "runs": [
                {"cpu": factor * seconds * (8 + x), "wall": 9.0, "memory": factor * (8 + x) * 2**20}
                for factor in (1.0, 1 / more, more)
            ],
        }
        for x in axis_values
    ]


def test_a_unit_is_a_share_of_the_whole() -> None:
    time, memory = series(CLIENTS, points((2, 4, 8, 16, 1000), 0.3))
    assert time.a_unit[0] == pytest.approx([500, 500 / 1.1, 550])  # 3 s are 6 updates
    assert memory.a_unit[2][0] == pytest.approx(2048)
    assert time.terms == pytest.approx({0: 2.4, 1: 0.3})
    assert time.words() == "2.4 s + 300 ms · x"
    assert time.bends == pytest.approx([8])
    time, _ = series(ROUNDS, points((1000, 10_000, 100_000), 0.3))
    assert time.bends == []


def test_the_exponent_is_that_of_the_upper_three() -> None:
    time, memory = series(ROUNDS, points((2, 4, 10_000, 100_000, 1_000_000), 0.3))
    assert (time.law[1], memory.law[1]) == pytest.approx((0, 0), abs=0.001)


def test_the_whole_grows_by_one_power_more_than_each_where_there_is_more_of_each() -> None:
    for axis, more in ((CLIENTS, 1), (IMAGES, 1), (ROUNDS, 1), (WIDTH, 0)):
        for one in series(axis, points((2, 4, 8, 50, 100), 0.3)):
            assert one.power == pytest.approx(one.law[1] + (more if one.unit.of else 0))
    time, _ = series(CLIENTS, [{"x": x, "runs": [{"cpu": x**1.5, "memory": 2**20}]} for x in (2, 4, 8, 16)])
    assert time.power == pytest.approx(1.5)


def test_numbers_in_sentences_have_three_digits_and_few_exponents() -> None:
    assert [plain(value) for value in (17_649.0, 121.4, 0.21749, 36_012.0)] == ["17,600", "121", "0.217", "36,000"]
    assert [growing(power) for power in (1.066, -0.436, 0.0)] == ["∝ x^1.07", "∝ x^−0.44", "∝ x^0.00"]


def test_a_figure_is_told_to_those_who_do_not_see_it() -> None:
    measured = points((2, 4, 8, 16, 1000), 0.3)
    words = in_words(CLIENTS, *series(CLIENTS, measured))
    assert words == "By clients, 2 to 1,000. CPU ms a local update: 500 to 101. KiB a client: 5,120 to 1,030"
    assert figure(CLIENTS, measured).get_label() == f"{words}; {CLIENTS.fixed}"
    drawn = figure(CLIENTS, points((8, 16, 32), 0.3))
    assert [text.get_text() for text in drawn.axes[0].get_legend().get_texts()] == [
        "the whole: 2.4 s + 300 ms · x", "each local update ∝ x^−0.34 at the end", "measured"
    ]  # fmt: skip
    assert f"![{words}](here/growth-clients.svg)" in section({"clients": measured}, "here")


def test_the_published_figures_are_of_the_published_numbers() -> None:
    folder = ROOT / "docs" / KEPT
    if not (folder / "growth.json").exists():
        pytest.skip("growth is not published yet")
    for name, told in json.loads((folder / "growth.json").read_text())["axes"].items():
        label = figure(AXES[name], told).get_label()
        assert f"<title>{label}</title>" in (folder / f"growth-{name}.svg").read_text(encoding="utf-8")


def test_memory_that_does_not_grow_can_be_drawn() -> None:
    still = points((2, 4, 8), 0.3)
    for point in still:
        for run in point["runs"]:
            run["memory"] = 0
    assert series(ROUNDS, still)[1].law[1] == pytest.approx(-1)
    assert figure(ROUNDS, still).get_label()


def test_amounts_have_the_largest_unit_of_which_there_is_one() -> None:
    assert [amount(value, SECONDS) for value in (2.0, 0.5, 3e-6, 1e-15)] == ["2 s", "500 ms", "3 µs", "0.001 ps"]
    assert [amount(value, BYTES) for value in (3 * 2.0**20, 2048.0, 0.5)] == ["3 MiB", "2 KiB", "0.5 B"]


def test_axes_change_one_thing() -> None:
    for axis in AXES.values():
        assert axis.values[0] < axis.quick < axis.values[-1]
        first, last = (axis.describe(x) for x in (axis.values[0], axis.values[-1]))
        same = {"clients": "clients", "images": "data", "width": "model", "rounds": "federation"}[axis.name]
        assert getattr(first, same) != getattr(last, same)
        for other in {"model", "federation", "training", "clients"} - {same}:
            assert getattr(first, other) == getattr(last, other)
    assert (CLIENTS.values[0], CLIENTS.values[-1]) == (2, 1000)
    assert (IMAGES.values[0], IMAGES.values[-1]) == (10**2, 10**5)
    assert (WIDTH.values[0], WIDTH.values[-1]) == (8, 64)
    assert (ROUNDS.values[0], ROUNDS.values[-1]) == (3, 100)


def test_the_cost_of_work_is_its_own() -> None:
    size = 64 * 2**20
    for _ in range(2):  # what was given back before counts again
        taken = growth_point.cost(lambda: bytearray(size))
        assert taken.wall > 0
        if Path("/proc/self/clear_refs").exists():
            assert size - 2**22 <= taken.memory < 2 * size
            assert growth_point.cost(lambda: None).memory < size / 4


def test_a_federation_is_measured_without_the_drawing_of_its_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "two.toml"
    file.write_text(CLIENTS.describe(2).to_toml(), encoding="utf-8")
    growth_point.main(["prepare", str(file)])
    (drawn,) = json.loads(capsys.readouterr().out)
    growth_point.main(["measure", str(file)])
    taken = json.loads(capsys.readouterr().out)
    for told in (drawn, taken):
        assert growth_point.Cost(**told).cpu >= 0
    assert taken["cpu"] > 0


def test_points_are_measured_in_turn_long_ones_once_and_failures_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(place: Path, what: str, *files: Path) -> Any:
        one = {"cpu": 1.0, "wall": bench.LONG if files[-1].stem == "width-32" else 1.0, "memory": 2**20}
        if what == "prepare":
            return [one for _ in files]
        asked.append(files[0].stem)
        if files[0].stem in ("width-64", "rounds-3"):
            raise RuntimeError("it failed: [no reason]")
        return one

    monkeypatch.setattr(bench, "_answer", answer)
    said = StringIO()
    found = measured([WIDTH, ROUNDS], 2, tmp_path, Console(file=said))
    first = ["width-8", "width-16", "width-32", "width-64", "rounds-3", "rounds-10", "rounds-30", "rounds-100"]
    assert asked == [*first, "width-8", "width-16", "rounds-10", "rounds-30", "rounds-100"]
    assert {name: [(point["x"], len(point["runs"])) for point in told] for name, told in found.items()} == {
        "width": [(8, 2), (16, 2), (32, 1)],
        "rounds": [(10, 2), (30, 2), (100, 2)],
    }
    assert "width 64: it failed: [no reason]" in said.getvalue()


def test_one_point_is_no_growth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(place: Path, what: str, *files: Path) -> Any:
        if what == "measure" and files[0].stem != "width-8":
            raise RuntimeError("it failed")
        return [{}, {}, {}] if what == "prepare" else {"cpu": 1.0, "wall": 1.0, "memory": 0}

    monkeypatch.setattr(bench, "_answer", answer)
    assert measured([WIDTH], 1, tmp_path, Console(file=StringIO()), quick=True) == {}


def test_each_point_has_a_program_of_its_own_and_a_cache_that_is_not_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "experiments" / "bench" / "growth_point.py"
    stand_in.parent.mkdir(parents=True)
    for folder in (stand_in.parent, stand_in.parent.parent):
        (folder / "__init__.py").touch()
    stand_in.write_text("import json, os, sys\nprint('hello')\nprint(json.dumps([*sys.argv[1:], dict(os.environ)]))\n")
    monkeypatch.setattr("experiments.bench.one_program.ROOT", tmp_path)
    what, file, environment = bench._answer(tmp_path, "measure", Path("a.toml"))
    assert (what, file) == ("measure", "a.toml")
    assert environment["PSREVAL_CACHE"] == str(tmp_path / "cache")
    assert environment["OMP_NUM_THREADS"] == "1"
    stand_in.write_text("raise ValueError('a.toml is no description')\n")
    with pytest.raises(RuntimeError, match=r"it failed: ValueError: a\.toml is no description"):
        bench._answer(tmp_path, "measure", Path("a.toml"))


def test_what_was_measured_is_written_drawn_and_told(tmp_path: Path) -> None:
    axes = {"clients": points((2, 4, 8, 16), 0.3), "width": points((8, 16, 32, 64), 0.01)}
    write({"repeats": 3, "axes": axes}, tmp_path)
    assert json.loads((tmp_path / "growth.json").read_text())["axes"] == axes
    for name in axes:
        assert (tmp_path / f"growth-{name}.svg").read_text().lstrip().startswith("<?xml")
    text = section(axes, "figures/performance")
    assert "| 16 | 7.2 (6.55–7.92) | 9 | 150 (136–165) | 24 (21.8–26.4) | 1.54e+03 (1.4e+03–1.69e+03) | 0.25 |" in text
    assert "16 images each, ResNet-9 of width 4, 3 rounds, in process; x: clients." in text
    assert (
        "\nCPU time, over the last three sizes: the whole ∝ x^0.50, that of each local update ∝ x^−0.50. "
        "Over all sizes the whole is about 2.4 s + 300 ms · x, so it bends at x = 8.\n"
    ) in text
    assert "\nMemory, over the last three sizes: the whole ∝ x^0.79. Over all sizes" in text


def test_mistakes_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, complaint in ((["height"], "no axis height"), (["--repeats", "0"], "at least 1")):
        with pytest.raises(SystemExit):
            main(arguments)
        assert complaint in capsys.readouterr().err


def test_an_axis_that_failed_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"rounds": points((3, 10, 30), 0.1)}
    monkeypatch.setattr(bench, "measured", lambda *_, **__: found)
    main(["rounds", "--write", str(tmp_path / "good")])
    assert "#### Rounds" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="failed: width"):
        main(["rounds", "width", "--write", str(tmp_path / "less")])
    assert json.loads((tmp_path / "less" / "growth.json").read_text())["axes"] == found


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(bench, "measured", lambda *_, **__: pytest.fail("something is measured"))
    with pytest.raises(SystemExit):
        main(["rounds", "--write", str(tmp_path / "file" / "folder")])
    assert "name a folder that can be written" in capsys.readouterr().err


def test_ctrl_c_ends_it_without_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "measured", stopped)
    with pytest.raises(SystemExit) as end:
        main(["rounds", "--write", str(tmp_path)])
    assert end.value.code == 130
    assert not list(tmp_path.iterdir())
