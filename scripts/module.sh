#!/usr/bin/env bash
# module.sh SOURCE DIRECTORY MODULE [GLIBC]
#
# Builds the module for the configured nginx tree SOURCE, with cargo's files below DIRECTORY, and puts it at
# MODULE. With GLIBC the module is linked with Debian 11's C library, and must then need none newer than GLIBC.
set -euo pipefail

source=$1 directory=$2 module=$3 glibc=${4:-}
cd "$(dirname "$0")/.."

cargo=(env -u MAKEFLAGS "${CARGO:-cargo}" rustc --release --package nginx-authgear --lib)
if [ -n "$glibc" ]; then
    sysroot=$PWD/build/debian/sysroot
    scripts/debian.sh bullseye "$sysroot" libc6-dev libgcc-s1
    cargo+=(-- -C "link-arg=--sysroot=$sysroot" -C "link-arg=-L$sysroot/usr/lib/$(cc -print-multiarch)")
    # Rust's library uses gettid (glibc 2.30) where there is one. 0 tells it that there is none.
    cargo+=(-C "link-arg=-Wl,--defsym=gettid=0")
fi
target=${CARGO_TARGET_DIR:-$directory/target}
NGINX_SOURCE_DIR=$source CARGO_TARGET_DIR=$target "${cargo[@]}"

built=$target/release/libngx_http_authgear_module.so
if [ -n "$glibc" ]; then
    newest=$(objdump -T "$built" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -uV | tail -n 1)
    if [ "$(printf '%s\n' "$newest" "$glibc" | sort -V | tail -n 1)" != "$glibc" ]; then
        echo "module: needs glibc $newest, more than $glibc, for:" >&2
        objdump -T "$built" | grep -F "GLIBC_$newest" >&2
        exit 1
    fi
fi

# Never written in place: a running nginx may have the old one mapped.
if ! cmp -s "$built" "$module"; then
    mkdir -p "$(dirname "$module")"
    cp "$built" "$module.new"
    mv -f "$module.new" "$module"
fi
echo "$module"
