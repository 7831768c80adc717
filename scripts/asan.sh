#!/usr/bin/env bash
# asan.sh [TEST...]
#
# Runs integration tests, a choice unless told which, on an nginx and a module built with AddressSanitizer.
# NGX_DEBUG_PALLOC gives each allocation from a pool a block of its own, so that a step beyond one is seen, and
# so is the use of a request after its end. Needs a nightly compiler of Rust. An error aborts the process, which
# fails the test and leaves its report in the test's output.
set -euo pipefail
cd "$(dirname "$0")/.."

tests=("$@")
if [ ${#tests[@]} -eq 0 ]; then
    tests=(hostile_resolver hostile_client incidents faults abort cache cache_age logout operate error_page identity variables)
fi
version=${NGINX_VERSION:-1.18.0}
toolchain=${ASAN_TOOLCHAIN:-nightly}
triple=$(rustc -vV | sed -n 's/^host: //p')
out=$PWD/build/asan-$version
target=${CARGO_TARGET_DIR:-$out/target}

if [ ! -x "$out/sbin/nginx" ]; then
    export CC="cc -fsanitize=address -fno-omit-frame-pointer -DNGX_DEBUG_PALLOC=1"
    # What configure runs to find things out is no place for leak reports.
    ASAN_OPTIONS=detect_leaks=0 scripts/nginx.sh configure "$version" "$out"
    ASAN_OPTIONS=detect_leaks=0 scripts/nginx.sh build "$out"
    unset CC
fi
RUSTFLAGS="-Zsanitizer=address -Cforce-frame-pointers=yes" NGINX_SOURCE_DIR=$out/src CARGO_TARGET_DIR=$target \
    cargo "+$toolchain" build --target "$triple" --package nginx-authgear

export ASAN_OPTIONS=abort_on_error=1:detect_leaks=0:${ASAN_OPTIONS:-}
export AUTHGEAR_NGINX=$out/sbin/nginx
export AUTHGEAR_MODULE=$target/$triple/debug/libngx_http_authgear_module.so
cargo test --package authgear-integration --no-fail-fast "${tests[@]/#/--test=}"
