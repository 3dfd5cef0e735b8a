"""Laws of every figure: whatever the results, it is drawn, nothing leaves the page, and nothing is written over."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from common.errors import UserError
from experiments.drawing import styled
from experiments.study.published import KINDS, draw, inlined, publish, publish_costs, table_of
from experiments.study.results import Result
from experiments.study.setting import Setting
from experiments.study.tables import to_markdown
from tests.experiments.study import made_up_ways

WAYS = ("learning-curves", "protocols", "protocol-attacks", "cheaters")
"""Kinds whose cells need more than one federation, and rounds on disk."""
Study = Callable[..., list[Result]]
ALL_USES = ("none", "adversarial training", "train-time attack", "both")


def whole(study_results: Study) -> list[Result]:
    return study_results(epsilons=(None, 7.0, 1.7), uses=ALL_USES, attacks=("fgsm", "fab"), shares=(0.1,), repeats=2)


def changed(result: Result, peers: dict[str, object]) -> Result:
    """Return ``result`` as that of a federation whose section ``peers`` says this too."""
    return replace(result, cell=replace(result.cell, experiment=result.cell.experiment.change({"peers": peers})))


def ugly_ways(folder: Path) -> list[Result]:
    """Return single cells of many ways to train, with all and nothing right, and long names."""
    long = {"records_limit": 7, "refuse_repeats": True, "keep_optimizer": False}
    odd = made_up_ways.result(folder, "centered-clipping", 20, 0.0, split="dirichlet:0.123456", abuse="count-inflation")
    plain = made_up_ways.result(folder, "BrainTorrent", 4, 0.0, updates=1)
    return [
        made_up_ways.result(folder, "pooled", 1, 1.0),
        changed(plain, {"merge": "mean", "denominator": "all", **long}),
        made_up_ways.result(folder, "FedAvg", 12, 1.0, split="dirichlet:0.123456", curve=[0.0] * 6),
        changed(odd, {"merge": "centered-clipping", **long}),
        made_up_ways.result(folder, "median", 20, 0.5, curve=[0.5] * 6, moved=1e10),
    ]


def ugly(make_result: Callable[..., Result]) -> list[Result]:
    """Return single cells with all and nothing right, long and strange names, and holes wherever one may be."""
    odd = Setting("d_$x$ & <more> " * 6, "my_model^2", 1.7, "a/strategy", None, None, 0.1)
    plain = Setting("CIFAR-10", "ResNet-9", None, "none", None, None, 8 / 255)
    edges = {("fp32", "clean"): 1.0, ("int8", "clean"): 0.0, ("int8", "all"): 0.0, ("int8", "transfer"): 0.0}
    poisoned = replace(plain, epsilon=3.4, use="train-time attack", attack="a_very_long_attack_name " * 3, share=0.123)
    trained = replace(plain, use="adversarial training", attack="fab", share=1.0)
    return [
        make_result(plain, accuracies=edges, coordinates={"axis " * 9: "value $_{" * 9}),
        make_result(odd, accuracies={("fp32", "clean"): 0.5}, coordinates={"b": ""}),
        make_result(poisoned, accuracies={("int8", "query"): 0.5}),
        make_result(trained, accuracies={("int8", "clean"): 1.0, ("int8", "transfer"): 1.0}),
        make_result(trained, repeat=1, accuracies={("int8", "clean"): 1.0, ("int8", "transfer"): 1.0}),
    ]


def texts(figure: Figure) -> list[tuple[Text, Bbox]]:
    """Return all letters of a figure with the box that each text fills, in pixels."""
    canvas = FigureCanvasAgg(figure)
    with styled():
        canvas.draw()
    renderer = canvas.get_renderer()
    own = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        own += [*axes.texts, axes.xaxis.label, axes.yaxis.label, axes.title]
        (left, right), (low, high) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
        own += [tick.label1 for tick in axes.xaxis.get_major_ticks() if left <= tick.get_loc() <= right]
        own += [tick.label1 for tick in axes.yaxis.get_major_ticks() if low <= tick.get_loc() <= high]
    shown = [text for text in own if text.get_visible() and text.get_text().strip()]
    return [(text, text.get_window_extent(renderer)) for text in shown]


def figures(results: list[Result], kind: str) -> list[tuple[str, Figure]]:
    drawn = draw(results, kind, "A title", ["3 of 40 cells are not finished."])
    assert not isinstance(drawn, str)
    return drawn


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sort", ["whole", "ugly"])
def test_all_letters_are_on_the_page_none_upon_another_and_repeats_and_images_are_said(
    kind: str, sort: str, study_results: Study, make_result: Callable[..., Result], tmp_path: Path
) -> None:
    if kind in WAYS:
        results = made_up_ways.whole(tmp_path, repeats=2) if sort == "whole" else ugly_ways(tmp_path)
    else:
        results = whole(study_results) if sort == "whole" else ugly(make_result)
    for stem, figure in figures(results, kind):
        page = figure.bbox
        boxes = texts(figure)
        told = " ".join(text.get_text() for text in figure.texts).replace("\u00a0", " ")
        if sort == "whole":
            assert "n = 2 repeats" in told
            assert "test images" in told
        else:
            assert "n = 1" in told or "Not measured: " in told
        assert "3 of 40 cells are not finished." in told
        for text, box in boxes:
            told = f"{stem}: {text.get_text()}"
            assert box.x0 >= page.x0 - 1, told
            assert box.x1 <= page.x1 + 1, told
            assert box.y0 >= page.y0 - 1, told
            assert box.y1 <= page.y1 + 1, told
        for (one, first), (other, second) in combinations(boxes, 2):
            wide = min(first.x1, second.x1) - max(first.x0, second.x0)
            high = min(first.y1, second.y1) - max(first.y0, second.y0)
            assert not (wide > 1.5 and high > 1.5), f"{stem}: '{one.get_text()}' upon '{other.get_text()}'"


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_at_all_is_a_sentence(kind: str, tmp_path: Path) -> None:
    drawn = draw([], kind)
    assert isinstance(drawn, str)
    assert drawn.startswith(f"Nothing to draw for '{kind}'")
    assert publish([], kind, "", tmp_path) == []
    assert list(tmp_path.iterdir()) == []
    assert str(inlined([], kind)[kind]).startswith("<p>Nothing")


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_is_in_the_table_too(kind: str, study_results: Study, tmp_path: Path) -> None:
    table = table_of(made_up_ways.whole(tmp_path) if kind in WAYS else whole(study_results), kind)
    assert len([one for one in table.points if one.estimate is not None]) > 2
    places = [tuple(one.where.items()) for one in table.points]
    assert len(set(places)) == len(places)


def test_files_of_several_families_have_names_of_their_own(study_results: Study, tmp_path: Path) -> None:
    results = study_results(data=("CIFAR-10", "Chest X-rays"), epsilons=(1.7,), repeats=1)
    files = publish(results, "trade-off", "", tmp_path, stem="fig9")
    names = [str(path.relative_to(tmp_path)) for path in files]
    assert names == [
        "fig9-cifar-10.svg", "fig9-cifar-10.png", "fig9-cifar-10.pdf",
        "fig9-chest-x-rays.svg", "fig9-chest-x-rays.png", "fig9-chest-x-rays.pdf",
        "tables/fig9.csv", "tables/fig9.md", "tables/fig9.tex",
    ]  # fmt: skip
    assert all(path.is_file() for path in files)
    assert [path.name for path in publish_costs(results, tmp_path)] == ["costs.csv", "costs.md", "costs.tex"]


def test_published_again_all_bytes_are_the_same(study_results: Study, tmp_path: Path) -> None:
    results = study_results(repeats=2)
    first, again = (publish(results, "transfer", "", tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


def test_the_elements_of_a_page_have_different_names(study_results: Study) -> None:
    found = inlined(study_results(data=("a", "b"), epsilons=(1.7,), repeats=1), "privacy")
    assert list(found) == ["privacy-a", "privacy-b"]
    assert all(one.startswith("<svg") for one in found.values())


def test_cells_that_a_figure_cannot_tell_apart_are_said(make_result: Callable[..., Result]) -> None:
    cells = [make_result(changes={"federation.rounds": rounds}) for rounds in (1, 2)]
    (_, figure), *_ = figures(cells, "accuracies")
    assert any("1 cell differs from others" in text.get_text() for text in figure.texts)
    (_, grid), *_ = figures(cells, "grid")
    assert not any("differs from others" in text.get_text() for text in grid.texts)
    assert "1 cell differs from others" in to_markdown(table_of(cells, "accuracies"))
    assert "differs from others" not in to_markdown(table_of(cells, "grid"))


def test_an_unknown_figure_is_refused_with_its_name() -> None:
    with pytest.raises(UserError, match=r"there is no 'heatmap'.*heat-map"):
        draw([], "heatmap")
