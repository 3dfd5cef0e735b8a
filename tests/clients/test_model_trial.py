"""What is wrong with a model for DP-SGD is found without a record, and nothing is spent on it."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients.holding import Holding, simulated_holding
from clients.image_facts import image_facts
from clients.memory import InFolder
from clients.model_trial import refuse_unfit_model
from clients.place import Place
from clients.rehearsal import plan_of
from common.config import Experiment, parse
from common.data import prepare
from common.errors import UserError
from common.exchange import arrays_of
from common.privacy import Plan
from server.federation import initial_model
from tests.clients.client_fixture import FOLDED, FOLDING, PRIVATE, tiny


class Closed(Holding):
    """Records that nobody may look at."""

    def records(self, most: int | None = None) -> Any:
        raise AssertionError("the records were read")


def placed(folder: Path, made: Experiment) -> tuple[Place, Plan]:
    client, holding = made.roster()[0], simulated_holding(made, 0)
    plan = plan_of(made, client, len(holding))
    assert plan is not None
    closed = Closed(holding.dataset, np.empty(0, dtype=np.int64))
    return Place(made, client, 0, closed, InFolder(folder / "state", "run"), None), plan


@pytest.mark.parametrize("secure", [True, False])
def test_a_model_that_fits_passes_whether_it_classifies_or_draws(tmp_path: Path, secure: bool) -> None:
    masks = {
        "data": {"source": "brain", "image_size": 32, "train_records": 14, "public_records": 14, "test_records": 14},
        "model": {"name": "unet", "width": 4},
        "privacy": {"enabled": True, "accountant": "rdp", "delta": 1e-3},
        "clients": [{"count": 2}],
    }
    for made in (tiny(**PRIVATE), parse(masks, "masks")):
        made = made.change({"privacy.secure_noise": secure})
        data = prepare(made.data)
        place, plan = placed(tmp_path, made)
        refuse_unfit_model(place, image_facts(data), plan)
        refuse_unfit_model(place, image_facts(data), plan, arrays_of(initial_model(made, data)))
    assert not (tmp_path / "state").exists()  # no ledger


def test_one_whose_rows_are_not_the_records_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.py").write_text(FOLDING)
    made = tiny(model={"name": f"{tmp_path}/rows.py:build"}, **PRIVATE)
    place, plan = placed(tmp_path, made)
    with pytest.raises(UserError, match=FOLDED):
        refuse_unfit_model(place, image_facts(prepare(made.data)), plan)


def test_so_are_received_weights_that_are_not_finite(tmp_path: Path) -> None:
    made = tiny(**PRIVATE)
    data = prepare(made.data)
    place, plan = placed(tmp_path, made)
    received = arrays_of(initial_model(made, data))
    next(iter(received.values())).fill_(math.nan)
    with pytest.raises(UserError, match="of the received weights is not finite"):
        refuse_unfit_model(place, image_facts(data), plan, received)


def test_however_few_records_a_plan_is_for_the_trial_is_no_more(tmp_path: Path) -> None:
    made = tiny(**PRIVATE)
    place, plan = placed(tmp_path, made)
    refuse_unfit_model(place, image_facts(prepare(made.data)), dataclasses.replace(plan, records=1))
