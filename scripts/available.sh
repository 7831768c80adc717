#!/usr/bin/env bash
# available.sh
#
# Prints the versions of nginx whose source can be had here, oldest first, and says which cannot.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
while read -r version; do
    if scripts/fetch.sh nginx "$version" build/downloads >/dev/null 2>&1; then
        echo "$version"
    else
        missing+=("$version")
    fi
done < <(awk '$1 == "nginx" { print $2 }' scripts/sources.txt)
[ ${#missing[@]} -eq 0 ] || echo "not tested, for want of their source: ${missing[*]}" >&2
