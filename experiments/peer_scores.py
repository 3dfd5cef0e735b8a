"""How good each peer's own model is, beside the aggregated one."""

from typing import Any

from common.config import Experiment
from common.data import Dataset
from common.folder import RunFolder, read_arrays, read_json, write_json
from common.task import SCORES
from common.threads import torch_threads
from server.federation import initial_model
from server.marks import Marks
from server.own_models import score_own


def score_peers(experiment: Experiment, dataset: Dataset, folder: RunFolder) -> None:
    """Score every peer's own final model on the test images, and write ``peers.json``.

    It holds the score's name and, for each peer whose model can be had, the fp32 model's value in [0, 1], its 95 %
    interval and n; under ``int8`` the same of its compressed model, null where no threat is asked for; under
    ``attacked`` both (``fp32``, ``int8``) as ``server.own_models`` attacks them, where the description has that threat.

    Raises:
        UserError: a peer's model is not whole, or the disk is full.
    """
    honest = {client["name"]: client["honest"] for client in read_json(folder.ledger)["clients"]}
    model = initial_model(experiment, dataset)
    rows = []
    with torch_threads(experiment.federation.threads):
        for client in experiment.roster():
            if not folder.peer_model(str(client.name)).exists():  # it could not be had at the end of the run
                continue
            model.load_state_dict(read_arrays(folder.peer_model(str(client.name))))
            own = score_own(experiment, dataset, model)
            row = {"name": str(client.name), "honest": honest[client.name], **_told(own.fp32)}
            row["int8"] = None if own.int8 is None else _told(own.int8)
            row["attacked"] = {target: _told(marks) for target, marks in own.attacked.items()}
            rows.append(row)
    write_json(folder.peer_scores, {"metric": SCORES[dataset.task], "peers": rows})


def _told(marks: Marks) -> dict[str, Any]:
    low, high = marks.interval
    return {"value": marks.mean, "low": low, "high": high, "n": len(marks)}
