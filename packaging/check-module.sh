#!/usr/bin/env bash
# check-module.sh MODULE GLIBC [NGINX_VERSION]
#
# Fails if MODULE needs a symbol of a C library newer than GLIBC, or is for another nginx than NGINX_VERSION. Prints
# the oldest C library that it runs on.
set -euo pipefail

module=$1 glibc=$2 nginx=${3:-}

needed=$(objdump -T "$module" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -uV | tail -n 1)
[ -n "$needed" ] || {
    echo "check-module: $module needs no C library: is it a module?" >&2
    exit 1
}
if [ "$(printf '%s\n' "$needed" "$glibc" | sort -V | tail -n 1)" != "$glibc" ]; then
    echo "check-module: $module needs glibc $needed, more than $glibc, for:" >&2
    objdump -T "$module" | grep -F "GLIBC_$needed" >&2
    exit 1
fi

if [ -n "$nginx" ]; then
    # The sixth word of ngx_module_t, of which nginx refuses any other than its own: 1018000 for 1.18.0.
    address=$(nm -D "$module" | awk '$3 == "ngx_http_authgear_module" { print $1 }')
    word=$(objdump -s -j .data --start-address=$((16#$address + 40)) --stop-address=$((16#$address + 44)) "$module" |
        awk 'END { print $2 }')
    built=$((16#${word:6:2}${word:4:2}${word:2:2}${word:0:2}))
    IFS=. read -r major minor patch <<<"$nginx"
    [ "$built" = $((major * 1000000 + minor * 1000 + patch)) ] || {
        echo "check-module: $module is for nginx $built, not for $nginx" >&2
        exit 1
    }
fi
echo "$needed"
