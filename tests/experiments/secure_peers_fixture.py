"""Folders of five peers of the secure protocol, who never wait for each other for long."""

from pathlib import Path

from common.config import parse
from experiments.peer_certificates import make_peer_certificates
from experiments.peer_split import prepare_peers

NAMES = ["a", "b", "c", "d", "e"]
DESCRIBED = parse(
    {
        "protocol": "secure",
        "data": {"image_size": 28, "train_records": 60, "public_records": 12, "test_records": 9},
        "model": {"width": 4},
        "federation": {"rounds": 1, "join_timeout": 0.3, "round_timeout": 0.3, "skipped_rounds_limit": 0},
        "clients": [{"name": name} for name in NAMES],
    },
    "test",
)


def secure_peers(folder: Path) -> dict[str, Path]:
    """Make the peers' folders, with data and certificates; return each peer's file."""
    prepare_peers(DESCRIBED, folder)
    make_peer_certificates(folder, NAMES)
    files = {name: folder / name / "peer.toml" for name in NAMES}
    for file in files.values():
        file.write_text(file.read_text().replace("[peer]\n", "[peer]\nexchange_timeout = 0.3\n"))
    return files
