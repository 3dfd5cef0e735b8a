"""What the processor is found to be."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from server.processor import has_vnni, quantized_engine, saturates

ROOT = Path(__file__).parents[2]


def test_the_engine_is_one_that_torch_has() -> None:
    assert quantized_engine() in (*torch.backends.quantized.supported_engines, "")


NAMES = {"avx512_vnni": "avx512_vnni", "avx_vnni": "avx_vnni", "asimddp": "dot", "i8mm": "i8mm"}
"""What the kernel calls an 8-bit dot product, and what torch does."""
X86 = """\
processor	: 0
model name	: Example CPU @ 2.4 GHz
flags		: fpu sse sse2 avx avx2 avx512f{}
bugs		: spectre_v1
"""
ARM = """\
processor	: 0
BogoMIPS	: 50.00
Features	: fp asimd aes crc32 atomics fphp asimdhp{}
CPU implementer	: 0x41
"""


def features(text: str) -> set[str]:
    """Return what /proc/cpuinfo says that all processors have, on x86 and on ARM."""
    found = [line.partition(":") for line in text.splitlines()]
    return set.intersection(*(set(told.split()) for key, _, told in found if key.strip() in ("flags", "Features")))


@pytest.fixture
def _afresh() -> Iterator[None]:
    has_vnni.cache_clear()
    yield
    has_vnni.cache_clear()


@pytest.mark.usefixtures("_afresh")
@pytest.mark.parametrize(
    ("text", "there"),
    [
        (X86.format(""), False),
        (X86.format(" avx512_vnni"), True),
        (X86.format(" avx_vnni"), True),
        (ARM.format(""), False),
        (ARM.format(" asimddp"), True),
        (ARM.format(" i8mm"), True),
    ],
)
def test_an_8_bit_dot_product_is_known_on_x86_and_on_arm(
    text: str, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {name: of_kernel in features(text) for of_kernel, name in NAMES.items()}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told | {"architecture": "made up"})
    assert has_vnni() is there


def test_this_processor_is_known_as_the_kernel_does() -> None:
    information = Path("/proc/cpuinfo")
    if not information.exists():
        pytest.skip("only Linux tells")
    assert has_vnni() == bool(NAMES.keys() & features(information.read_text(encoding="utf-8")))


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
