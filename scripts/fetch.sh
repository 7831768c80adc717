#!/usr/bin/env bash
# fetch.sh NAME VERSION DIRECTORY
#
# Puts the archive of NAME VERSION into DIRECTORY and prints its path. What it prints has the SHA-256 of
# sources.txt, also when it was downloaded earlier.
set -euo pipefail

name=$1 version=$2 directory=$3
table=$(dirname "$0")/sources.txt

read -r sum places < <(
    awk -v name="$name" -v version="$version" \
        '$1 == name && $2 == version { $1 = $2 = ""; print }' "$table"
) || {
    echo "fetch: $name $version is not in $table; it has:" >&2
    awk -v name="$name" '$1 == name { print "  " $2 }' "$table" >&2
    exit 2
}

mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
archive=$directory/$name-$version.tar
work=$directory/.$name-$version.$$
trap 'rm -rf "$work"' EXIT

verified() {
    [ -f "$1" ] && echo "$sum  $1" | sha256sum --check --status -
}

get() {
    curl --fail --location --silent --show-error --retry 1 --connect-timeout 10 --max-time 300 \
        --output "$2" "$1"
}

# Base URLs of the Debian archive, as this machine's apt has them.
mirrors() {
    command -v apt-get >/dev/null || return 0
    [ -n "$(list_mirrors)" ] || [ "$(id -u)" != 0 ] || apt-get update >&2 || true
    list_mirrors
}

list_mirrors() {
    # shellcheck disable=SC2016 # the format is apt's
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | sort -u
}

# A crate comes with its dependencies, since cargo can fetch only for a package: so this is the last place.
get_crate() {
    local crate=${1%@*} vers=${1#*@}
    mkdir -p "$work/crate/src"
    : >"$work/crate/src/lib.rs"
    cat >"$work/crate/Cargo.toml" <<TOML
[package]
name = "fetch"
version = "0.0.0"
edition = "2021"
[dependencies]
$crate = "=${vers%%+*}"
[workspace]
TOML
    cargo fetch --quiet --manifest-path "$work/crate/Cargo.toml" || return
    find "${CARGO_HOME:-$HOME/.cargo}/registry/cache" -name "$crate-$vers.crate" -exec cp {} "$2" ';'
    [ -f "$2" ]
}

try() {
    echo "fetch: $name $version from $1" >&2
    rm -f "$work/file"
    case $1 in
        crate:*) get_crate "${1#crate:}" "$work/file" ;;
        *) get "$1" "$work/file" ;;
    esac || return
    if ! verified "$work/file"; then
        echo "fetch: $1: wrong SHA-256, not used" >&2
        return 1
    fi
    mv -f "$work/file" "$archive"
}

fetch() {
    local place base
    for place in $places; do
        case $place in
            debian:*)
                for base in $(mirrors); do
                    try "${base%/}/${place#debian:}" && return
                done
                ;;
            *) try "$place" && return ;;
        esac
    done
    echo "fetch: $name $version cannot be had from any of: $places" >&2
    echo "fetch: put it at $archive yourself, with the SHA-256 $sum" >&2
    return 1
}

if ! verified "$archive"; then
    mkdir -p "$work"
    fetch
fi
echo "$archive"
