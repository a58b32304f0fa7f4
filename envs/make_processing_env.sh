#!/usr/bin/env bash
# The environment of the original TensorFlow Spleeter (2.4 GB), for --separator spleeter-tf:
#     envs/make_processing_env.sh            makes .venv-spleeter in the project's folder, where it is looked for
#     envs/make_processing_env.sh FOLDER     makes it elsewhere; then set SPLEETER_PYTHON=FOLDER/bin/python
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/../.venv-spleeter}

find_python() {
    for candidate in python3.11 python3.10 python3.9 python3.8 python3 python; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(not (3, 8) <= sys.version_info[:2] < (3, 12))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "error: no Python 3.8 to 3.11 on the PATH, and Spleeter 2.4.2 wants one below 3.12;" \
        "install python3.11 (with venv), or use conda with envs/processing_env.yml" >&2
    exit 2
}

case $folder in
-*) echo "error: $folder: give the folder of the new environment, or nothing" >&2 && exit 2 ;;
esac
stamp=$folder/installed
if cmp -s "$here/processing-requirements.txt" "$stamp"; then
    echo "ready: $folder/bin/python"
    exit
fi
python=$(find_python)
echo "making $folder with $("$python" --version)"
"$python" -m venv "$folder" || { echo "error: $python -m venv failed; on Debian: apt install $(basename "$python")-venv" >&2; exit 2; }
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/processing-requirements.txt"
"$folder/bin/python" -m pip check --disable-pip-version-check
cp "$here/processing-requirements.txt" "$stamp"
echo "ready: $folder/bin/python"
