import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from server.score import accuracy, auroc, disease_measures, logits_of


def test_auroc_by_hand() -> None:
    scores = np.array([0.9, 0.8, 0.3, 0.3, 0.1])
    positive = np.array([True, False, True, False, False])
    assert auroc(scores, positive) == pytest.approx((3 + 1.5) / 6)  # pairs won: 3 and 1 + a tie's half


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_the_share_of_pairs_in_order(pairs: list[tuple[int, bool]]) -> None:
    scores, positive = np.array([score for score, _ in pairs], float), np.array([flag for _, flag in pairs])
    won = [1.0 if high > low else 0.5 if high == low else 0.0 for high in scores[positive] for low in scores[~positive]]
    found = auroc(scores, positive)
    assert found is None if not won else found == pytest.approx(np.mean(won))


def test_sensitivity_and_specificity_by_hand() -> None:
    logits = np.array([[2.0, 0, 0], [0, 2, 0], [0, 0, 2], [2, 0, 0], [0, 2, 0]])
    labels = np.array([0, 0, 1, 2, 2])
    found = disease_measures(logits, labels, normal=0)
    assert found["sensitivity"] == (pytest.approx(2 / 3), 3)  # a viral image called bacterial is still found
    assert found["specificity"] == (pytest.approx(1 / 2), 2)
    assert accuracy(logits, labels) == pytest.approx(1 / 5)


def test_a_model_is_scored_in_eval_mode_and_put_back() -> None:
    class Mode(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert not self.training
            return images.flatten(1)[:, :2]

    model = Mode().train()
    images = np.full((3, 1, 2, 2), 255, np.uint8)
    assert logits_of(model, images).tolist() == [[1.0, 1.0]] * 3
    assert model.training


def test_scoring_does_not_depend_on_the_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    images = torch.rand(50, 1, 4, 4, generator=generator)
    np.testing.assert_allclose(logits_of(model, images, batch_size=7), logits_of(model, images), rtol=1e-5)
