"""The manifest and the partition table: what a run's folder tells of a run besides its results."""

from typing import Any

import numpy as np

from common.config import RESULTS_VERSION, Experiment
from common.data import Dataset, class_counts, normalisation, partition
from common.folder import RunFolder, read_json, read_lines, write_json
from server.provenance import commit, machine, now, package_versions
from server.runners import DESCRIBED as DESCRIBED


def open_manifest(experiment: Experiment, dataset: Dataset, folder: RunFolder, runner: str, **more: Any) -> None:
    """Write the manifest of a run that starts now, or keep the start of one that resumes; and the partition."""
    mean, std = normalisation(dataset.public)
    hospitals = runner not in DESCRIBED
    told = {
        "results_version": RESULTS_VERSION,
        "hash": experiment.digest(dataset.checksum, hospitals=hospitals),
        "federation_hash": experiment.digest(dataset.checksum, federation_only=True, hospitals=hospitals),
        "commit": commit(),
        **package_versions(),
        "machine": machine(),
        "data": {
            "source": dataset.source,
            "synthetic": dataset.synthetic,
            "checksum": dataset.checksum,
            "task": dataset.task,
            "classes": list(dataset.classes),
            "strata": list(dataset.strata_names),
            "channels": dataset.channels,
            "image_size": dataset.image_size,
            "mean": mean,
            "std": std,
            "counts": dataset.counts(),
            "notes": list(dataset.notes),
        },
        "runner": runner,
        "seconds": {},
        "bytes": {},
        "bytes_total": {"up": 0, "down": 0},
        "started": now(),
        "finished": None,
        **more,
    }
    if folder.manifest.exists():
        before = read_json(folder.manifest)
        told |= {"started": before["started"], "seconds": before["seconds"]}
    write_json(folder.manifest, told)
    write_json(folder.partition, partition_table(experiment, dataset))


def close_manifest(folder: RunFolder, **seconds: float) -> None:
    """Add the seconds that a part took, the bytes that clients moved, and the time of now."""
    told = read_json(folder.manifest)
    for part, value in seconds.items():
        told["seconds"][part] = round(told["seconds"].get(part, 0.0) + value, 2)
    told["bytes"] = bytes_by_client(folder)
    told["bytes_total"] = {way: sum(client[way] for client in told["bytes"].values()) for way in ("up", "down")}
    told["finished"] = now()
    write_json(folder.manifest, told)


def bytes_by_client(folder: RunFolder) -> dict[str, dict[str, int]]:
    """Return the bytes that each client sent (``up``) and received (``down``) over all rounds, as they were packed."""
    total: dict[str, dict[str, int]] = {}
    for line in read_lines(folder.rounds):
        for client in line["clients"]:
            entry = total.setdefault(client["name"], {"up": 0, "down": 0})
            entry["up"] += client["bytes_up"]
            entry["down"] += client["bytes_down"]
    return total


def partition_table(experiment: Experiment, dataset: Dataset) -> dict[str, Any]:
    """Return ``partition.json``: each client's record numbers and its count of every stratum (class).

    The shares are empty where the server has no training split, since the clients bring their own.
    """
    roster, strata = experiment.roster(), dataset.train.strata
    none = np.zeros(0, np.int64)
    shares = partition(strata, len(roster), experiment.data) if len(strata) else [none] * len(roster)
    spec = experiment.data.partition
    return {
        "spec": spec if isinstance(spec, str) else list(spec),
        "seed": experiment.data.seed,
        "clients": [
            {
                "name": client.name,
                "records": share.tolist(),
                "counts": class_counts(strata[share], len(dataset.strata_names)),
            }
            for client, share in zip(roster, shares, strict=True)
        ],
    }
