import pytest

from common.description import Thresholds
from server.verdict import stated_failure, verdict

GOOD = {
    "epsilon": 3.0,
    "robust_accuracy": 0.8,
    "robust_interval": (0.75, 0.84),
    "size_reduction": 0.74,
    "accuracy": 0.9,
    "accuracy_interval": (0.87, 0.92),
    "credible": True,
    "attacked": True,
}


def test_all_hold() -> None:
    tiles = verdict(Thresholds(), **GOOD)
    assert {name: tile["holds"] for name, tile in tiles.items()} == dict.fromkeys(tiles, True)
    assert stated_failure(tiles) == []


@pytest.mark.parametrize(
    ("change", "name", "holds"),
    [
        ({"epsilon": None}, "private", False),
        ({"epsilon": 8.5}, "private", False),
        ({"robust_accuracy": 0.3, "robust_interval": (0.25, 0.35)}, "robust", False),
        ({"robust_accuracy": 0.52, "robust_interval": (0.45, 0.59)}, "robust", None),
        ({"credible": False}, "robust", None),
        ({"credible": False, "robust_accuracy": 0.3, "robust_interval": (0.2, 0.4)}, "robust", False),
        ({"size_reduction": 0.69}, "small", False),
        ({"attacked": False}, "robust", None),
        ({"accuracy": 0.5, "accuracy_interval": (0.46, 0.54)}, "useful", False),
        ({"accuracy": 0.71, "accuracy_interval": (0.68, 0.74)}, "useful", None),
    ],
)
def test_each_tile_fails_on_its_own(change: dict, name: str, holds: bool | None) -> None:
    tiles = verdict(Thresholds(), **{**GOOD, **change})
    assert tiles[name]["holds"] is holds
    assert all(tile["holds"] is True for other, tile in tiles.items() if other != name)


def test_only_a_stated_threshold_can_fail_a_run_and_an_undecided_one_does() -> None:
    weak = {**GOOD, "robust_accuracy": 0.52, "robust_interval": (0.45, 0.59), "epsilon": None}
    assert stated_failure(verdict(Thresholds(), **weak)) == []
    (said,) = stated_failure(verdict(Thresholds(robust_accuracy=0.5), **weak))
    assert said.startswith("robust: ")


def test_masks_are_judged_by_dice_under_the_same_thresholds() -> None:
    tiles = verdict(Thresholds(accuracy=0.95), **GOOD, task="segmentation")
    assert tiles["robust"]["sentence"] == "attacked images have a mean Dice of 80.0% in the worst case (asked: 50%)"
    assert stated_failure(tiles) == ["useful: clean test images have a mean Dice of 90.0% (asked: 95%)"]
