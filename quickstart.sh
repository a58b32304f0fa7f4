#!/usr/bin/env bash
# From a fresh clone to a new vocal over the same accompaniment, on a CPU, without a hub:
#     ./quickstart.sh                makes .venv, installs, runs the whole way, ends with the path of a page
#     ./quickstart.sh --setup-only   makes .venv and stops
# More flags go through to demo/quickstart.py.
set -euo pipefail
cd "$(dirname "$0")"

find_python() {
    for candidate in python3.11 python3.12 python3.13 python3; do
        if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            echo "$candidate"
            return
        fi
    done
    echo "error: no Python 3.11 or newer on the PATH; install one (Debian: apt install python3 python3-venv)" >&2
    exit 2
}

setup() {
    local extras=$1 stamp=".venv/installed-$1" python
    if [ -e "$stamp" ] && cat envs/requirements*-lock.txt | cmp -s - "$stamp"; then
        return
    fi
    python=$(find_python)
    if [ ! -x .venv/bin/python ]; then
        echo "making .venv with $($python --version)"
        "$python" -m venv .venv || { echo "error: python -m venv failed; on Debian: apt install python3-venv" >&2; exit 2; }
    fi
    echo "installing the packages of envs/requirements-lock.txt"
    # torch first and pinned, so that no later package chooses another build of it.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "$(grep '^torch==' envs/requirements-lock.txt)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r envs/requirements-lock.txt
    if [ "$extras" = dev ]; then
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -r envs/requirements-dev-lock.txt
    fi
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
    .venv/bin/python -W ignore envs/compile_librosa.py
    cat envs/requirements*-lock.txt >"$stamp"
}

if [ "${1:-}" = --setup-only ]; then
    setup "${2:-main}"
    echo "ready: .venv/bin/python"
    exit
fi
setup main
exec .venv/bin/python demo/quickstart.py "$@"
