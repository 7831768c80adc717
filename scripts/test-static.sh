#!/usr/bin/env bash
# test-static.sh VERSION [TEST...]
#
# Builds nginx VERSION with the module linked into it, as `./configure --add-module` does, and runs the integration
# tests on it, or those named.
set -euo pipefail

version=$1
shift
cd "$(dirname "$0")/.."

tests=("$@")

# The optimisation is that of the shared object, which is tested elsewhere.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16

out=$PWD/build/nginx-$version-static
if [ ! -e "$out/src/objs/Makefile" ] || [ -n "$(find config config.make scripts/nginx.sh -newer "$out/src/objs/Makefile")" ]; then
    scripts/nginx.sh configure "$version" "$out" --add-module="$PWD"
fi
# make finds out itself what of the module has changed.
scripts/nginx.sh build "$out"

nginx=$out/sbin/nginx
echo "== $("$nginx" -v 2>&1), with the module inside"
if "$nginx" -V 2>&1 | grep -q add-dynamic-module || ! grep -q ngx_http_authgear_module "$out/src/objs/ngx_modules.c"; then
    echo "test-static: the module is not in the binary" >&2
    exit 1
fi

AUTHGEAR_NGINX=$nginx AUTHGEAR_MODULE=static \
    "${CARGO:-cargo}" test --no-fail-fast -p authgear-integration "${tests[@]/#/--test=}"
