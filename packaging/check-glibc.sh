#!/usr/bin/env bash
# check-glibc.sh MODULE GLIBC
#
# Fails if MODULE needs a symbol of a C library newer than GLIBC, and prints the newest that it does need.
set -euo pipefail

module=$1 glibc=$2

newest=$(objdump -T "$module" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -uV | tail -n 1)
[ -n "$newest" ] || {
    echo "check-glibc: $module needs no C library: is it a module?" >&2
    exit 1
}
if [ "$(printf '%s\n' "$newest" "$glibc" | sort -V | tail -n 1)" != "$glibc" ]; then
    echo "check-glibc: $module needs glibc $newest, more than $glibc, for:" >&2
    objdump -T "$module" | grep -F "GLIBC_$newest" >&2
    exit 1
fi
echo "$newest"
