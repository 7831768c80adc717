#!/usr/bin/env bash
# dist.sh [nginx-VERSION | debian-SUITE]...
#
# Puts into dist/ what is given to users, with SHA256SUMS: the module for each version of nginx in
# scripts/sources.txt, and a package for the nginx of each Debian release in DEBIAN. With arguments only those.
# A version whose source cannot be had here is named at the end, and is no failure.
set -euo pipefail

cd "$(dirname "$0")/.."
glibc=2.28
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)

wanted=("$@")
if [ "$#" = 0 ]; then
    mapfile -t wanted < <(awk '$1 == "nginx" { print "nginx-" $2 }' scripts/sources.txt)
    for suite in ${DEBIAN:-bullseye bookworm}; do
        wanted+=("debian-$suite")
    done
    rm -rf dist
fi
mkdir -p dist

# All share what does not depend on nginx.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/build/debian/target}

quiet_make() {
    env -u MAKEFLAGS -u MAKELEVEL make --no-print-directory "$@" >&2
}

skipped=
for one in "${wanted[@]}"; do
    case $one in
        nginx-*)
            nginx=${one#nginx-}
            if ! scripts/fetch.sh nginx "$nginx" build/downloads >/dev/null; then
                skipped+=" $nginx"
                continue
            fi
            quiet_make module NGINX_VERSION="$nginx" GLIBC=$glibc
            module=build/nginx-$nginx/glibc-$glibc/ngx_http_authgear_module.so
            packaging/check-module.sh "$module" $glibc "$nginx" >/dev/null
            file=dist/ngx_http_authgear_module-$version-nginx-$nginx-linux-$(uname -m).so
            # Line numbers, for a backtrace in the log, stay in the build.
            strip --strip-unneeded -o "$file" "$module"
            chmod 644 "$file"
            ;;
        debian-*) file=$(packaging/deb.sh "${one#debian-}" "$version" dist $glibc) ;;
        *)
            echo "dist: what is $one?" >&2
            exit 2
            ;;
    esac
    echo "$file"
done
(cd dist && sha256sum -- *.so *.deb 2>/dev/null >SHA256SUMS) || true
(cd dist && sha256sum --check --quiet SHA256SUMS)
[ -z "$skipped" ] || echo "not made, for want of their source:$skipped"
