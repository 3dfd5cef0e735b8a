"""What all who train one model must know of its images."""

import pytest

from clients.image_facts import image_facts
from common.data import normalisation, prepare
from tests.clients.client_fixture import tiny


def test_the_normalisation_is_the_public_splits() -> None:
    dataset = prepare(tiny().data)
    facts = image_facts(dataset)
    mean, std = normalisation(dataset.public)
    assert facts.classes == dataset.classes
    assert (facts.channels, facts.image_size) == (dataset.channels, dataset.image_size)
    assert facts.mean == pytest.approx(tuple(mean))
    assert facts.std == pytest.approx(tuple(std))
