#!/bin/sh
# Remove from a virtual environment what no federation runs: headers, tests, installers. Usage: slim.sh VENV
set -eu
site=$(echo "$1"/lib/python3.*/site-packages)
# uv is there for Flower's own installation of an app's dependencies, which we switch off.
"$1"/bin/python -m pip uninstall --quiet --yes uv setuptools pip
# torch: C++ headers, CMake files and test programs, for whoever compiles extensions.
rm -rf "$site"/torch/include "$site"/torch/share "$site"/torch/test
find "$site"/torch/bin -type f ! -name torch_shm_manager -delete
# Test suites inside packages.
find "$site" -depth -type d \( -name tests -o -path '*/onnx/backend/test' \) -exec rm -rf {} +
# Compiled modules: compile.py makes those that are used.
find "$site" -depth -type d -name __pycache__ -exec rm -rf {} +
