#!/usr/bin/env bash
# msrv.sh SOURCE
#
# Builds the module for the configured nginx tree SOURCE with the oldest Rust that Cargo.toml promises, and runs the
# unit tests. The compiler is that of Debian 13, unpacked into a directory and run with its own libraries; what it
# calls, and what it builds, is this machine's. Nothing is installed.
set -euo pipefail

cd "$(dirname "$0")/.."
source=$1
promised=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

root=$PWD/build/debian/rust
scripts/debian.sh trixie "$root" cargo rustc
libraries=$root/usr/lib/$(cc -print-multiarch)
loader=$(find "$libraries" -maxdepth 1 -name 'ld-linux*.so.*')
mkdir -p "$root.bin"
# sh may drop variables with a hyphen, which cargo sets.
for tool in cargo rustc; do
    cat >"$root.bin/$tool" <<SH
#!/bin/bash
exec '$loader' --library-path '$libraries' '$root/usr/bin/$tool' "\$@"
SH
    chmod +x "$root.bin/$tool"
done

export CARGO=$root.bin/cargo RUSTC=$root.bin/rustc
version=$("$RUSTC" --version)
case $version in
    "rustc $promised."*) echo "== $version" ;;
    *)
        echo "msrv: Debian's is $version, and $promised is promised" >&2
        exit 1
        ;;
esac

export CARGO_TARGET_DIR=$PWD/build/msrv
scripts/module.sh "$source" "$CARGO_TARGET_DIR" "$CARGO_TARGET_DIR/ngx_http_authgear_module.so"
# Without those in documentation: rustdoc calls the compiler itself, and not with its libraries.
"$CARGO" test --no-fail-fast --tests --workspace --exclude nginx-authgear --exclude authgear-integration
"$CARGO" test --no-fail-fast --tests --manifest-path fuzz/Cargo.toml
