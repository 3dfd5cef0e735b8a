"""Rules inside the server's rounds, over the in-process grid."""

from pathlib import Path

import numpy as np
import pytest
from flwr.app import RecordDict

from common.errors import UserError
from common.folder import RunFolder, read_arrays, read_lines
from server.federation import initial_model, run_federation
from tests.server import federation_fixture as fixture

Arrays = dict[str, np.ndarray]


def run(folder: Path, behaviours: list, **federation: object) -> RunFolder:
    made = RunFolder(folder / "run")
    changes = {f"federation__{key}": value for key, value in federation.items()}
    description = fixture.experiment(folder, len(behaviours), **changes)
    run_federation(fixture.grid(behaviours), description, fixture.dataset(), made)
    return made


def broken(_: int, received: Arrays) -> RecordDict:
    return fixture.content({name: array * np.float32("nan") for name, array in received.items()})


def far(_: int, received: Arrays) -> RecordDict:
    return fixture.content({name: array + np.float32(100) for name, array in received.items()})


def test_a_round_with_too_few_updates_for_the_rule_is_skipped_with_a_sentence(tmp_path: Path) -> None:
    words = "krum with num_malicious_nodes = 1 needs at least 5 updates, and 4 can be used"
    with pytest.raises(UserError, match=words):
        run(
            tmp_path,
            [fixture.honest()] * 4 + [broken],
            rounds=1,
            aggregation="krum",
            aggregation_options={"num_malicious_nodes": 1},
        )
    (line,) = read_lines(tmp_path / "run" / "rounds.jsonl")
    assert line["status"] == "skipped"


@pytest.mark.parametrize(
    ("rule", "options", "expected"),
    [
        ("geometric-median", {}, 0.3),  # on a line it is the median of 0.1, 0.2, 0.3, 0.4 and 100
        ("centered-clipping", {"clip_norm": 100.0, "iterations": 1}, None),
        ("flower:FedMedian", {}, 0.3),
    ],
)
def test_one_far_update_does_not_carry_the_model_away(
    tmp_path: Path, rule: str, options: dict, expected: float | None
) -> None:
    behaviours = [*(fixture.honest(shift) for shift in (0.1, 0.2, 0.3, 0.4)), far]
    folder = run(tmp_path, behaviours, rounds=1, aggregation=rule, aggregation_options=options)
    start = initial_model(fixture.experiment(tmp_path, 5), fixture.dataset())
    final = read_arrays(folder.model)
    moved = np.concatenate(
        [(final[name] - parameter.detach()).numpy().ravel() for name, parameter in start.named_parameters()]
    )
    if expected is None:  # a fifth of 0.1 + 0.2 + 0.3 + 0.4, and of a step of length 100 over all parameters
        expected = 0.2 + 100 / 5 / np.sqrt(moved.size)
    np.testing.assert_allclose(moved, expected, atol=1e-5)
