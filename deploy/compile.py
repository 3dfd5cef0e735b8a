"""Import whatever a server, a node or a report imports: shows that the image is whole, and leaves it compiled.

Containers cannot write, so what is not compiled here is compiled again at every start. Compiling all that is
installed would cost 120 MB more.
"""

import importlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("common", "attacks", "clients", "server", "peers", "experiments")
NOT_HERE = {"experiments.ray"}
"""Needs Ray, which the image leaves out."""
LATER = ("matplotlib.pyplot", "onnx", "onnxruntime", "torch.ao.quantization", "torchattacks", "uvicorn.lifespan.on")
"""What our modules import only when they need it."""


def main() -> None:
    """Import every module of our packages, and ``LATER``."""
    files = [file.relative_to(ROOT) for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    names = [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files]
    for name in [*names, *LATER]:
        if name not in NOT_HERE:
            importlib.import_module(name)


if __name__ == "__main__":
    main()
