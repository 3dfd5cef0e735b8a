"""Provenance: what code, packages and machine a result comes from."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from server.processor import has_vnni

PACKAGES = ("flwr", "torch", "torchvision", "opacus", "torchattacks", "ray", "numpy", "onnxruntime", "onnx")


def package_versions() -> dict[str, Any]:
    """Return this package's version, and under ``versions`` those of Python and of what results depend on."""
    versions = {"python": platform.python_version()} | {package: _version(package) for package in PACKAGES}
    return {"psreval": _version("psreval"), "versions": versions}


def machine() -> dict[str, Any]:
    """Return what this machine is: processor, cores, memory, system, 8-bit dot products."""
    cpu = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text(encoding="utf-8", errors="replace").splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else 0.0
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "system": f"{platform.system()} {platform.release()}",
        "vnni": has_vnni(),
    }


def commit() -> str | None:
    """Return the git commit of this code, with ``+changes`` if the tree differs; None outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=10)
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if head.returncode != 0:
        return None
    return head.stdout.strip() + ("+changes" if changes.stdout.strip() else "")


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
