#!/usr/bin/env bash
# Installs the package into the environment; its dependencies are there already.
set -euo pipefail
python -m pip install --quiet --no-deps --no-build-isolation .
