import pytest
import torch

from common.records import Records, as_float, replace


def records(n: int = 4) -> Records:
    return Records(torch.arange(n * 4, dtype=torch.uint8).reshape(n, 1, 2, 2), torch.zeros(n, dtype=torch.int64))


def test_uint8_becomes_shares_of_255() -> None:
    assert as_float(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [0.0, 1.0]


def test_masks_are_the_labels_of_segmentation() -> None:
    masks = torch.arange(16).reshape(4, 2, 2) % 3
    masked = Records(records().images, masks)
    assert (masked.task, records().task) == ("segmentation", "classification")
    assert torch.equal(masked.take(torch.tensor([3, 0])).labels, masks[[3, 0]])
    after = replace(masked, torch.tensor([1]), torch.ones(1, 1, 2, 2), torch.full((1, 2, 2), 2))
    assert (after.labels[1] == 2).all()
    assert torch.equal(after.labels[[0, 2, 3]], masks[[0, 2, 3]])


def test_replacing_changes_those_records_alone_and_keeps_the_count() -> None:
    before = records()
    after = replace(before, torch.tensor([2]), torch.ones(1, 1, 2, 2), torch.tensor([1]))
    assert len(after) == len(before)
    assert after.labels.tolist() == [0, 0, 1, 0]
    assert (after.images[2] == 1).all()
    kept = torch.tensor([0, 1, 3])
    assert torch.equal(after.images[kept], as_float(before.images)[kept])
    assert before.labels.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (torch.zeros(2, 2, 2, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(2, 1, 2, 2, dtype=torch.float64), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(2, 1, 2, 2), torch.zeros(3, dtype=torch.int64)),
        (torch.zeros(2, 1, 2, 2), torch.zeros(2)),
        (torch.zeros(2, 1, 2, 2), torch.zeros(2, 2, dtype=torch.int64)),
        (torch.zeros(2, 1, 2, 2), torch.zeros(2, 2, 3, dtype=torch.int64)),
        (torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2, dtype=torch.int64)),
        (torch.zeros(2, 1, 2, 2), torch.zeros(2, 2, 2, dtype=torch.uint8)),
    ],
)
def test_records_of_the_wrong_form_are_refused(images: torch.Tensor, labels: torch.Tensor) -> None:
    with pytest.raises(ValueError):
        Records(images, labels)
