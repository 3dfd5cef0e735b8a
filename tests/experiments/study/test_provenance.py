from dataclasses import replace

from experiments.study.provenance import provenance
from tests.experiments.study.made_up import experiment, result


def test_every_machine_and_commit_is_named_once() -> None:
    first = result(experiment(), 0, {})
    other = {**first.manifest, "machine": {"cpu": "Other CPU", "cores": 1, "vnni": False}, "commit": "abc+changes"}
    told = provenance([first, first, replace(first, manifest=other)])
    assert told == (
        "Machines: Example CPU, 2 cores, 8 GiB, with VNNI; Other CPU, 1 core, without VNNI. "
        "Commits 50a1c7c3b1f5, abc+changes; results version 2; torch 2.13.0, flwr 1.41.0, opacus 1.6.0."
    )


def test_a_bare_manifest_is_told_as_unknown() -> None:
    told = provenance([replace(result(experiment(), 0, {}), manifest={})])
    assert told == "Machine: unknown processor. Commit unknown; results version unknown."
