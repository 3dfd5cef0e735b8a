"""What the processor is found to be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from server.processor import has_vnni, quantized_engine, saturates

ROOT = Path(__file__).parents[2]


def test_the_engine_is_one_that_torch_has() -> None:
    assert quantized_engine() in (*torch.backends.quantized.supported_engines, "")


def test_a_processor_with_wide_vnni_does_not_saturate() -> None:
    if not torch.cpu.get_capabilities().get("avx512_vnni", False):
        pytest.skip("this processor has no AVX-512 VNNI")
    assert has_vnni()
    assert not saturates()


def test_saturation_is_seen_where_instructions_are_old() -> None:
    if quantized_engine() != "x86":
        pytest.skip("only x86 processors multiply into 16 bits")
    done = subprocess.run(
        [sys.executable, "-c", "from server.processor import saturates; print(saturates())"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "FBGEMM_ENABLE_INSTRUCTIONS": "AVX2", "PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert done.stdout.strip() == "True"
    assert done.stderr == ""
