"""What all tests share: quiet Flower, one torch thread, a cache of their own, and where real images lie."""

import os
from pathlib import Path

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("FLWR_LOG_LEVEL", "ERROR")

import pytest
import torch
from hypothesis import settings

settings.register_profile("psreval", deadline=None)  # a busy machine is no defect
settings.load_profile("psreval")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["PSREVAL_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real images: $PSREVAL_DATA, or ../shared/data beside the checkout."""
    for place in (os.environ.get("PSREVAL_DATA"), Path(__file__).parents[2] / "shared" / "data"):
        if place and Path(place).is_dir():
            return Path(place)
    pytest.skip("no real images here: set PSREVAL_DATA to a folder with chest_xray/, pneumoniamnist.npz, …")
