#!/usr/bin/env bash
# run.sh NGINX MODULE DOUBLE
#
# Runs calls.py, with grpcio from wherever it is: this machine's Python, or PyPI by way of build/grpc-venv.
set -euo pipefail

here=$(dirname "$0")
venv=$here/../../build/grpc-venv

for python in "${PYTHON:-python3}" /usr/bin/python3 "$venv/bin/python"; do
    if "$python" -c 'import grpc' 2>/dev/null; then
        exec "$python" "$here/calls.py" "$@"
    fi
done
if python3 -m venv "$venv" >/dev/null && "$venv/bin/pip" --quiet install 'grpcio>=1.60,<2'; then
    exec "$venv/bin/python" "$here/calls.py" "$@"
fi
echo "grpc: SKIPPED, no grpcio here and none to be had (apt-get install python3-grpcio)"
