import re
from pathlib import Path

from experiments.study.braintorrent_page import answers, braintorrent_page
from experiments.study.claims import judge
from experiments.study.claims_braintorrent import BRAINTORRENT_CLAIMS
from tests.experiments.study.made_up_ways import whole


def test_the_page_answers_first_and_every_link_in_it_leads_somewhere(tmp_path: Path) -> None:
    page = braintorrent_page(whole(tmp_path), "small: two cores", lambda study: f"psreval study {study}")
    assert page.startswith("## Verdict\n")
    assert page.index("By Dice, on average") < page.index("| claim |")
    links = re.findall(r"\]\(#([a-z0-9-]+)\)", page)
    assert len(set(links)) == len(BRAINTORRENT_CLAIMS)
    assert all(f'<a id="{link}"></a>' in page for link in links)
    assert "Synthetic data" in page
    assert "times BrainTorrent's" in page


def test_the_same_cells_give_the_same_page(tmp_path: Path) -> None:
    results = whole(tmp_path, repeats=2)
    pages = {braintorrent_page(results, "", str) for _ in range(2)}
    assert len(pages) == 1


def test_a_task_that_nobody_measured_has_no_answer(tmp_path: Path) -> None:
    told = answers(judge(whole(tmp_path, dice=False), {}, str, BRAINTORRENT_CLAIMS))
    assert len(told) == 1
    assert told[0].startswith("By accuracy, on average over settings: better than FedAvg at equal local updates: **")


def test_without_cells_the_page_says_so() -> None:
    page = braintorrent_page([], "", str)
    assert "No cell is finished." in page
    assert "By Dice" not in page
