#!/usr/bin/env bash
# deps.sh
#
# Installs what building and testing need and this machine lacks, by apt (Debian 12 or later) and as root.
# Without root it prints the command to run. With nothing missing it does nothing.
set -euo pipefail

rust_minimum=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")

has() { command -v "$1" >/dev/null; }
has_file() { compgen -G "$1" >/dev/null; }
at_least() { # VERSION MINIMUM
    [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}
available() { # PACKAGE: the version that apt would install
    apt-cache policy "$1" 2>/dev/null | awk '$1 == "Candidate:" && $2 != "(none)" { print $2 }'
}
refuse() {
    printf 'deps: %s\n' "$@" >&2
    exit 1
}

missing=()
need() { # PACKAGE TEST...
    "${@:2}" || missing+=("$1")
}

need build-essential has cc
need make has make
need zlib1g-dev has_file /usr/include/zlib.h
need libssl-dev has_file /usr/include/openssl/ssl.h
need libpcre2-dev has_file /usr/include/pcre2.h
# bindgen loads libclang, which needs the headers that come with it.
need libclang-dev has_file '/usr/lib/llvm-*/lib/clang/*/include/stddef.h'
need libclang-dev has_file '/usr/lib/llvm-*/lib/libclang*.so*'
need ca-certificates has_file /etc/ssl/certs/ca-certificates.crt
need bzip2 has bzip2
need curl has curl
need openssl has openssl
need procps has_file /bin/kill
need pkg-config has pkg-config
need python3 has python3
need shellcheck has shellcheck
# FastCGI and uwsgi applications, for the tests.
need fcgiwrap has fcgiwrap
need uwsgi-core has uwsgi
need uwsgi-plugin-python3 has_file '/usr/lib/uwsgi/plugins/python3*_plugin.so'

has_rust() {
    local version
    version=$(cargo --version 2>/dev/null | cut -d ' ' -f 2) || return
    at_least "${version:-0}" "$rust_minimum"
}
lacks_pcre() { # which Debian 13 no longer has; nginx.sh then builds it for the nginx that wants it
    ! has_file /usr/include/pcre.h && [ -n "$(available libpcre3-dev)" ]
}

if has_rust && has rustup; then
    cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
    cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
fi
if [ "${#missing[@]}" = 0 ] && has_rust && cargo fmt --version >/dev/null && cargo clippy --version >/dev/null &&
    ! lacks_pcre; then
    exit 0
fi

has apt-get || refuse "not a Debian system: install what these Debian packages hold: ${missing[*]}," \
    "libpcre3-dev and Rust $rust_minimum or later with rustfmt and clippy"
[ "$(id -u)" != 0 ] || apt-get update

if lacks_pcre; then
    missing+=(libpcre3-dev)
fi
if ! has_rust || ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
    # Debian 12 has a second, newer Rust, kept for its browsers.
    if at_least "$(available rustc)" "$rust_minimum"; then
        missing+=(cargo rustc rustfmt rust-clippy)
    elif at_least "$(available rustc-web)" "$rust_minimum"; then
        missing+=(cargo-web rustc-web rustfmt-web rust-web-clippy)
    else
        refuse "no Rust $rust_minimum or later, nor one in apt:" \
            "install it with rustup (components rustfmt and clippy), then try again"
    fi
fi

mapfile -t packages < <(printf '%s\n' "${missing[@]}" | sort -u)
install=(apt-get install --yes --no-install-recommends "${packages[@]}")
if [ "$(id -u)" != 0 ]; then
    refuse "missing: ${packages[*]}" "as root, run: apt-get update && ${install[*]}"
fi
echo "deps: installing ${packages[*]}"
DEBIAN_FRONTEND=noninteractive "${install[@]}" -o DPkg::Lock::Timeout=300
