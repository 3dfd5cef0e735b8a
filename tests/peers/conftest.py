"""Certificates for peers, made once."""

from pathlib import Path

import pytest

from experiments.peer_certificates import make_peer_certificates


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of certificates for the peers a, b, c and d; not to be changed."""
    folder = tmp_path_factory.mktemp("keys")
    make_peer_certificates(folder, ["a", "b", "c", "d"])
    return folder
