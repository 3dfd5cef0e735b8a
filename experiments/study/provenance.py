"""Where a study's numbers come from: machines, code and versions, of all its cells."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.study.phrasing import counted
from experiments.study.results import Result

SHOWN = ("torch", "flwr", "opacus")


def provenance(results: Sequence[Result]) -> str:
    """Return one or two sentences: the machines, the commits, the results versions and the libraries."""
    manifests = [result.manifest for result in results]
    machines = sorted({_machine(told.get("machine") or {}) for told in manifests})
    commits = sorted({_commit(told.get("commit")) for told in manifests})
    versions = sorted({str(told.get("results_version", "unknown")) for told in manifests})
    libraries = sorted({_libraries(told.get("versions") or {}) for told in manifests} - {""})
    code = f"{'Commits' if len(commits) > 1 else 'Commit'} {', '.join(commits)}"
    parts = [code, f"results version {', '.join(versions)}", *libraries]
    return f"{'Machines' if len(machines) > 1 else 'Machine'}: {'; '.join(machines)}. {'; '.join(parts)}."


def _commit(told: Any) -> str:
    """Return the short name of a commit; one with changes beside it is called so."""
    name, _, changed = str(told or "unknown").partition("+")
    return name[:12] + ("+changes" if changed else "")


def _libraries(told: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {told[name]}" for name in SHOWN if name in told)


def _machine(told: Mapping[str, Any]) -> str:
    parts = [str(told.get("cpu") or "unknown processor")]
    if told.get("cores"):
        parts.append(counted(int(told["cores"]), "core"))
    if told.get("memory_gib"):
        parts.append(f"{told['memory_gib']:.0f} GiB")
    if told.get("vnni") is not None:
        parts.append("with VNNI" if told["vnni"] else "without VNNI")
    return ", ".join(parts)
