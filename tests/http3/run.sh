#!/usr/bin/env bash
# run.sh NGINX MODULE DOUBLE
#
# Runs calls.py, with aioquic from wherever it is: this machine's Python, or PyPI by way of build/http3-venv.
# An nginx without HTTP/3 is not tested, and a line says so.
set -euo pipefail

here=$(dirname "$0")
venv=$here/../../build/http3-venv

if ! "$1" -V 2>&1 | grep -q with-http_v3_module; then
    echo "http3: SKIPPED, this nginx has no HTTP/3: $("$1" -v 2>&1)"
    exit 0
fi
for python in "${PYTHON:-python3}" /usr/bin/python3 "$venv/bin/python"; do
    if "$python" -c 'import aioquic' 2>/dev/null; then
        exec "$python" "$here/calls.py" "$@"
    fi
done
if python3 -m venv "$venv" >/dev/null && "$venv/bin/pip" --quiet install 'aioquic>=1.2,<2'; then
    exec "$venv/bin/python" "$here/calls.py" "$@"
fi
echo "http3: SKIPPED, no aioquic here and none to be had"
