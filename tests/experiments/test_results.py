from pathlib import Path

from experiments.results import DATA, arms, cell_text, small_budget
from server.measures import Measure


def test_four_federations_a_data_set_each_the_other_s_generator() -> None:
    cells = list(arms(Path("/images")))
    assert len(cells) == 4 * len(DATA)
    federations = {experiment.digest(federation_only=True) for *_, experiment in cells}
    assert len(federations) == len(cells)
    for *_, experiment in cells:
        (generator,) = experiment.evaluation.generators
        assert experiment.change(generator.changes).digest(federation_only=True) in federations


def test_a_smaller_budget_trains_nothing_again() -> None:
    for *_, experiment in arms(Path("/images")):
        weaker = small_budget(experiment)
        assert weaker.digest(federation_only=True) == experiment.digest(federation_only=True)
        assert weaker.evaluation.eps < experiment.evaluation.eps


def test_a_cell_has_value_interval_and_n() -> None:
    measure = Measure("fp32", "clean", "none", "", None, None, None, None, "accuracy", 0.5, 100, 0.404, 0.596)
    assert cell_text(measure) == "50.0 % (40–60; 100)"
    assert cell_text(None) == "–"
