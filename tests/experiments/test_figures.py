import warnings
from xml.etree import ElementTree

import matplotlib
import pytest

from experiments import figures, forest
from experiments.attendance import OUTCOMES
from experiments.forest import Estimate

HALF = Estimate(0.5, 0.4, 0.6, 100)
ROWS = [("No adversary", "unchanged", {"fp32": HALF, "int8": HALF}), ("Insider", "", {"int8": HALF})]


def all_figures(name: str = "a", clients: int = 3, rounds: int = 4) -> dict[str, str]:
    lines = [(f"{name}{number}", number > 0, [0.5] * rounds) for number in range(clients)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return {
            "against": forest.against_whom(ROWS, threshold=0.5, unseeing=(0.4, "commonest class")),
            "rounds": figures.accuracy_by_round(list(range(1, rounds + 1)), [0.5] * rounds, [100] * rounds, lines),
            "partitions": figures.partitions([name, "b"], [(f"{name}{number}", [3, 4]) for number in range(clients)]),
            "presence": figures.presence(
                list(range(1, rounds + 1)),
                [(f"{name}{number}", (OUTCOMES * rounds)[number:][:rounds]) for number in range(clients)],
            ),
            "epsilon": figures.epsilon_by_round(lines, 8.0),
        }


def test_same_numbers_give_the_same_bytes() -> None:
    assert all_figures() == all_figures()


def test_drawing_leaves_the_settings_of_matplotlib_as_they_were() -> None:
    before = dict(matplotlib.rcParams)
    all_figures()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", ["a", "<b>&amp;", "$x_1$", 'q"uote', "Ünïcödé ☃", "long " * 12, "\\alpha"])
def test_every_figure_is_well_formed_whatever_the_names(name: str) -> None:
    for text in all_figures(name).values():
        root = ElementTree.fromstring(text)
        assert root.tag.endswith("svg")
        assert root.get("aria-label")


@pytest.mark.parametrize("clients", [1, 8, 9, 60])
@pytest.mark.parametrize("rounds", [1, 50])
def test_any_number_of_clients_and_rounds_can_be_drawn(clients: int, rounds: int) -> None:
    all_figures(clients=clients, rounds=rounds)


def test_figures_in_one_page_share_no_identifier() -> None:
    found = [
        element.get("id")
        for text in all_figures().values()
        for element in ElementTree.fromstring(text).iter()
        if element.get("id")
    ]
    assert len(found) == len(set(found))


def test_accuracies_that_were_not_measured_leave_gaps() -> None:
    text = figures.accuracy_by_round([1, 2], [None, None], [0, 0], [("a", True, [None, 0.5])])
    assert "not measured" in str(ElementTree.fromstring(text).get("aria-label"))


def test_presence_says_in_words_how_often_each_took_part() -> None:
    text = figures.presence([1, 2, 3], [("a", ("accepted", "silent", "accepted")), ("b", (None, "absent", "excluded"))])
    told = str(ElementTree.fromstring(text).get("aria-label"))
    assert told == "Who took part in which round: a accepted in 2 of 3 and b accepted in 0 of 3."


def test_presence_over_many_rounds_stays_small() -> None:
    text = figures.presence(list(range(1, 2001)), [(f"c{number}", ["accepted"] * 2000) for number in range(10)])
    assert len(text) < 50_000
