"""Laws of importing torchvision."""

import subprocess
import sys

import pytest
import torch

from common import vision
from common.errors import UserError
from common.vision import import_torchvision


def test_torchvision_imports_and_opens_data_sets() -> None:
    library = import_torchvision()
    assert import_torchvision() is library
    assert callable(import_torchvision("torchvision.datasets.utils").download_and_extract_archive)
    assert import_torchvision("torchvision.datasets").FakeData(size=2)[0][0].size == (224, 224)


def test_a_missing_operator_still_raises() -> None:
    operators = import_torchvision("torchvision.ops")
    if vision._declared:
        with pytest.raises(RuntimeError, match=r"custom C\+\+ ops"):
            operators.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    else:
        assert len(operators.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)) == 1


def test_no_torchvision_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(UserError, match="torchvision could not be imported"):
        import_torchvision()


def test_the_package_is_not_imported_before_it_is_wanted() -> None:
    code = "import common.vision, common.data, sys; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
