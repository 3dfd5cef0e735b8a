import itertools

from experiments.study.style import GENERATORS, SERIES, TARGETS, attack_looks


def test_no_two_series_are_told_apart_by_colour_alone() -> None:
    for looks in (SERIES, tuple(attack_looks(["fgsm", "pgd", "fab", "x", "y"]).values()), tuple(TARGETS.values())):
        for one, other in itertools.combinations(looks, 2):
            assert (one.marker, one.line) != (other.marker, other.line)
            assert one.colour != other.colour


def test_bars_differ_in_their_hatch() -> None:
    for looks in (TARGETS, GENERATORS):
        assert len({look.hatch for look in looks.values()}) == len(looks)


def test_the_papers_attacks_look_alike_in_every_figure() -> None:
    alone, together = attack_looks(["pgd"]), attack_looks(["zzz", "fab", "pgd", "fgsm"])
    assert alone["pgd"] == together["pgd"]
    assert list(together) == ["fgsm", "pgd", "fab", "zzz"]
