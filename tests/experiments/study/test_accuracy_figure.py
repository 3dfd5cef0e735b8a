from collections.abc import Callable

from experiments.study.accuracy_figure import accuracy_points, draw_accuracies, training
from experiments.study.results import Result
from experiments.study.sheet import Heading


def test_rows_follow_the_papers_axes_whatever_the_order_of_results(study_results: Callable[..., list[Result]]) -> None:
    results = study_results(epsilons=(None, 7.0), uses=("none", "train-time attack"), attacks=("fgsm", "pgd", "zoo"))
    points = accuracy_points(results)
    assert points == accuracy_points(list(reversed(results)))
    rows = dict.fromkeys((one.where["use"], one.where["training attack"], one.where["share"]) for one in points)
    assert list(rows)[:3] == [("none", None, None), ("train-time attack", "fgsm", 0.1),
                              ("train-time attack", "fgsm", 0.2)]  # fmt: skip
    assert list(rows)[-1] == ("train-time attack", "zoo", 0.4)
    [(_, figure)] = draw_accuracies(points, Heading("t"))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()][1] == "poisoned by FGSM, 10 %"
    assert len(figure.axes) == 2


def test_training_is_told_in_words() -> None:
    assert training("none", None, None) == "no adversarial data"
    assert training("adversarial training", "pgd", 0.2) == "trained on PGD, 20 %"
    assert training("my-strategy", None, None) == "my-strategy"
