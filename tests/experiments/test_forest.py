from xml.etree import ElementTree

from experiments import forest
from experiments.forest import Estimate

HALF = Estimate(0.5, 0.4, 0.6, 100)
ROWS = [("No adversary", "unchanged", {"fp32": HALF, "int8": HALF}), ("Insider", "", {"int8": HALF})]


def test_names_are_text_in_the_page_and_colours_follow_it() -> None:
    text = forest.against_whom(ROWS, threshold=None, unseeing=None)
    assert "Insider" in "".join(ElementTree.fromstring(text).itertext())
    assert "var(--int8" in text
    assert "DejaVu" not in text


def test_a_target_that_a_threat_does_not_concern_is_said_so() -> None:
    text = "".join(ElementTree.fromstring(forest.against_whom(ROWS, threshold=0.5, unseeing=None)).itertext())
    assert text.count("not an attack on this model") == 1


def test_every_estimate_is_told_with_its_interval_and_n() -> None:
    text = forest.against_whom(ROWS, threshold=0.5, unseeing=None)
    words = "".join(ElementTree.fromstring(text).itertext())
    assert words.count("50.0 % (40.0–60.0)") == 3
    assert "int8 50.0 % (95 % interval 40.0–60.0, n = 100)" in str(ElementTree.fromstring(text).get("aria-label"))


def test_a_row_without_estimates_says_that_no_attack_was_tried() -> None:
    root = ElementTree.fromstring(forest.against_whom([ROWS[0], ("Any", "", {})], threshold=0.5, unseeing=None))
    assert "".join(root.itertext()).count("no attack was tried") == 2
    assert "Any: no attack was tried" in str(root.get("aria-label"))
