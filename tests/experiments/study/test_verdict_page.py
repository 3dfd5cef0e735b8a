import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import Markup

from experiments.study.grid import Cell
from experiments.study.results import Result
from experiments.study.verdict_page import drawing, verdict_page
from tests.experiments.study import made_up_ways
from tests.experiments.study.made_up import experiment, result

WOBBLE = (-0.01, 0.0, 0.01)
SVG = (
    '<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg width="400pt" height="10pt" viewBox="0 0 400 10">'
    '<metadata>x</metadata><rect width="7" height="8"/></svg>'
)


def study(robust: float = 0.5, repeats: int = 3, **described: object) -> list[Result]:
    """Return cells without and with adversarial training, the latter with this worst-case accuracy."""
    return [
        result(
            experiment(trained=trained, seed=1 + repeat, **described),  # type: ignore[arg-type]
            repeat,
            {("fp32", "clean"): clean + WOBBLE[repeat], ("fp32", "all"): worst + WOBBLE[repeat]},
            coordinates={"<b>axis</b>": str(trained)},
        )
        for trained, clean, worst in ((None, 0.8, 0.1), (("pgd", 0.2), 0.7, robust))
        for repeat in range(repeats)
    ]


def peers_cells(folder: Path) -> list[Cell]:
    return [made_up_ways.result(folder, "BrainTorrent", 4, 0.8, repeat=repeat).cell for repeat in range(3)]


def headline(page: str) -> str:
    found = re.search(r'class="headline">([^<]*)<', page)
    assert found is not None
    return found[1].replace("\u00a0", " ")


class Nesting(HTMLParser):
    """Checks that what is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "img", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag


@pytest.mark.parametrize(
    ("results", "sentence"),
    [
        ([], "No cell is finished yet."),
        (study(), "Best in the worst case: trained on 20 % PGD, at 50 %."),
        (study(0.11), "No clear winner in the worst case: trained on 20 % PGD and no defence tie at about 11 %."),
        (study(repeats=1), "A single repeat decides nothing; trained on 20 % PGD leads with 49 % in the worst case."),
        (study()[:3], "One combination alone: no defence keeps 10 % in the worst case."),
        (
            [result(experiment(), 0, {("fp32", "clean"): 0.5})],
            "Nothing was attacked, so nothing is known of robustness.",
        ),
        (study() + study(0.1, budget=2 / 255), "A clear winner in the worst case in 1 of 2 scenarios."),
        (study(0.1) + study(0.1, budget=2 / 255), "No clear winner in the worst case in any of 2 scenarios."),
    ],
)
def test_the_headline_says_who_is_best_and_no_more_than_is_known(results: list[Result], sentence: str) -> None:
    page = verdict_page("Study", results, {}, [])
    assert headline(page) == sentence
    parser = Nesting()
    parser.feed(page)
    assert parser.open == []


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    page = verdict_page("Study", study(), {"A figure": SVG}, [("cell", "reason")], "small")
    assert "<script" not in page
    assert not re.search(r'(src|href)="(https?:)?//', page)
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page


def test_the_page_is_the_same_for_the_same_cells() -> None:
    assert verdict_page("Study", study(), {"A": SVG}, []) == verdict_page("Study", study(), {"A": SVG}, [])


def test_what_a_defence_costs_and_buys_is_printed_with_its_interval() -> None:
    page = verdict_page("Study", study(), {}, [])
    row = page[page.index("1 pair<") :]
    row = row[: row.index("</tr>")]
    assert '<td class="number wrong">−10.0</td>' in row  # the repeats agree, so the interval has no width
    assert '<td class="number right">+40.0</td>' in row


def test_less_success_of_an_attack_is_for_the_better() -> None:
    results = [
        result(
            experiment(trained=trained, seed=1 + repeat),
            repeat,
            {("fp32", "clean"): 0.8, ("fp32", "white-box"): 0.3, ("fp32", "white-box", "", "attack_success"): broken},
        )
        for trained, broken in ((None, 0.9), (("pgd", 0.2), 0.5))
        for repeat in range(3)
    ]
    assert '<td class="number right">−40.0</td>' in verdict_page("Study", results, {}, [])


def test_names_are_text_and_not_markup() -> None:
    page = verdict_page("<i>Study</i>", study(), {"<u>": "<none>"}, [("<b>cell</b>", "a < b")], "<s>", command="a <c>")
    for bad in ("<i>", "<u>", "<b>cell", "<none>", "<s>", "<c>"):
        assert bad not in page
    assert "A &lt; b." in page


def test_missing_cells_are_counted_at_the_top_and_explained_below() -> None:
    failures = [("fig5 share=0.4 repeat 2", "the disk is full"), ("fig5 share=0.4 repeat 3", "was not reached")]
    page = verdict_page("Study", study(), {}, failures, command="psreval study x.toml")
    assert "<b>2 of 8 cells are missing</b>" in page
    assert "The disk is full." in page
    assert page.index("2 of 8") < page.index('class="headline"') < page.index("The disk is full.")
    assert "are missing" not in verdict_page("Study", study(), {}, [])


def test_doubts_and_synthetic_data_stand_above_the_verdict() -> None:
    doubted = result(
        experiment(), 0, {("fp32", "clean"): 0.5}, warnings=(("unreliable", "fp32: gradients vanish"),), synthetic=True
    )
    page = verdict_page("Study", [doubted], {}, [])
    assert page.index("1 of 1 evaluations flagged themselves") < page.index('class="headline"')
    assert "fp32: gradients vanish." in page
    assert "Synthetic data." in page


def test_links_lead_to_each_repeats_report_or_folder(tmp_path: Path) -> None:
    results = [
        result(experiment(seed=1 + repeat), repeat, {("fp32", "clean"): 0.5}, path=tmp_path / "runs" / f"run {repeat}")
        for repeat in range(2)
    ]
    results[0].path.mkdir(parents=True)
    (results[0].path / "report.html").write_text("report")
    page = verdict_page("Study", results, {}, [], folder=tmp_path / "runs" / "studies" / "x")
    assert '<a href="../../run%200/report.html">1</a>' in page
    assert '<a href="../../run%201">2</a>' in page


def test_figures_are_inline_and_a_missing_one_is_a_sentence() -> None:
    bare = '<svg viewBox="0 0 400 10"><rect width="7" height="8"/></svg>'
    assert drawing(SVG) == f'<div class="plate">{bare}</div>'
    coloured = bare.replace("<rect", '<rect fill="var(--ink, #1c2126)"')
    assert drawing(coloured) == f'<div class="wide">{coloured}</div>'  # white paper would hide a dark page's ink
    assert drawing(Markup("<p>Nothing yet.</p>")) == "<p>Nothing yet.</p>"
    assert drawing("Nothing <was> measured.") == "<p>Nothing &lt;was&gt; measured.</p>"
    page = verdict_page("Study", study(), {"First.": SVG, "Second.": "Nothing yet."}, [])
    assert "<b>Figure 1.</b> First." in page
    assert "<p>Nothing yet.</p>" in page


def test_a_study_of_protocols_says_what_it_compares_instead_of_who_is_best(tmp_path: Path) -> None:
    drawn = {"Scores": SVG}
    page = verdict_page("Study", made_up_ways.whole(tmp_path, repeats=2), drawn, [])
    assert headline(page) == (
        "5 ways to train together, with and without peers that misbehave, scored by Dice on unchanged test images: "
        "see the figures and tables."
    )
    assert "Nothing was attacked" not in page
    assert "Which is best" not in page
    assert 'href="#best"' not in page
    assert "strongest attack" not in page
    assert "All combinations" in page
    parser = Nesting()
    parser.feed(page)
    assert parser.open == []
    single = [made_up_ways.result(tmp_path, "BrainTorrent", 4, 0.8, dice=False)]
    sentence = "One way to train together scored by accuracy on unchanged test images: see the tables."
    assert headline(verdict_page("Study", single, {}, [])) == sentence


def test_peers_that_were_attacked_are_judged_like_all_others(tmp_path: Path) -> None:
    attacked = [replace(one, cell=cell) for one, cell in zip(study()[:3], peers_cells(tmp_path), strict=True)]
    page = verdict_page("Study", attacked, {}, [])
    assert "in the worst case" in headline(page)
    assert "Which is best" in page


def test_with_a_server_alone_that_nothing_was_attacked_stays_the_answer(tmp_path: Path) -> None:
    page = verdict_page("Study", [made_up_ways.result(tmp_path, "FedAvg", 4, 0.8)], {}, [])
    assert headline(page) == "Nothing was attacked, so nothing is known of robustness."
    assert "Which is best" in page
