"""Which code runs here: a digest that server and nodes compare, for only equal code gives equal results."""

import functools
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The folder of the packages: a checkout, or what a Flower App bundle was unpacked into."""
PACKAGES = ("common", "attacks", "clients")
"""What a client's work depends on."""
ALL_PACKAGES = (*PACKAGES, "server", "peers", "experiments")
"""What a whole experiment depends on."""


@functools.cache
def code_digest(packages: tuple[str, ...] = PACKAGES) -> str:
    """Return the SHA-256 (64 hexadecimal digits) of names and contents of all .py files of the packages; read once."""
    return digest_of(ROOT, packages)


def digest_of(root: Path, packages: tuple[str, ...] = PACKAGES) -> str:
    """Return the same digest of the packages below another folder ``root``."""
    files = sorted(
        (file.relative_to(root).as_posix(), file) for package in packages for file in (root / package).rglob("*.py")
    )
    digest = sha256()
    for name, file in files:
        content = file.read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
