#!/usr/bin/env bash
# nginx.sh configure VERSION DIRECTORY [FLAG...]  unpacks nginx's source into DIRECTORY/src and configures it
# nginx.sh build DIRECTORY                        builds that tree and installs it into DIRECTORY
#
# DEBUG=0 leaves out --with-debug.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
downloads=$here/../build/downloads

at_least() { # VERSION MINIMUM
    [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

has_header() {
    echo "#include <$1>" | cc -E - >/dev/null 2>&1
}

configure() {
    local version=$1 directory=$2 archive
    shift 2
    mkdir -p "$directory"
    directory=$(cd "$directory" && pwd)
    archive=$("$here/fetch.sh" nginx "$version" "$downloads")

    new=$directory/.src.$$
    trap 'rm -rf "$new"' EXIT
    mkdir -p "$new"
    case $(tar -tf "$archive" | sed -n 1p) in
        nginx-src-*) tar -xf "$archive" -C "$new" --strip-components=2 --wildcards '*/nginx/*' ;;
        *) tar -xf "$archive" -C "$new" --strip-components=1 ;;
    esac
    rm -rf "$directory/src"
    mv "$new" "$directory/src"
    cd "$directory/src"

    # --with-compat gives all builds one layout, so that a module made here loads into the nginx of
    # a distribution or of nginx.org too. The rest is what the tests use.
    local flags=(
        --prefix="$directory"
        --with-compat
        --with-threads
        --with-file-aio
        --with-http_ssl_module
        --with-http_v2_module
        --with-http_realip_module
        --with-http_auth_request_module
        --with-http_addition_module
        --with-http_sub_module
        --with-http_stub_status_module
        # nginx builds with -Werror: a compiler or an OpenSSL newer than it would fail it.
        --with-cc-opt="-O2 -Wno-error -Wno-deprecated-declarations"
    )
    [ "${DEBUG:-1}" = 0 ] || flags+=(--with-debug)
    if at_least "$version" 1.25.0; then
        flags+=(--with-http_v3_module)
    fi
    if ! at_least "$version" 1.21.5 && ! has_header pcre.h; then
        mkdir pcre
        tar -xf "$("$here/fetch.sh" pcre 8.39 "$downloads")" -C pcre --strip-components=1
        flags+=(--with-pcre="$PWD/pcre")
    fi

    local script=./configure
    [ -x "$script" ] || script=auto/configure
    if ! "$script" "${flags[@]}" "$@" >configure.log 2>&1; then
        tail -n 20 configure.log >&2
        echo "nginx: configuring $version failed; see $PWD/configure.log and objs/autoconf.err" >&2
        exit 1
    fi
}

build() {
    cd "$1/src"
    # Without the variables and job slots of a make that called us.
    if ! env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -j "$(nproc)" install >make.log 2>&1; then
        tail -n 20 make.log >&2
        echo "nginx: building failed; see $PWD/make.log" >&2
        exit 1
    fi
}

"$@"
