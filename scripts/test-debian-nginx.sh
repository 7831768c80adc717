#!/usr/bin/env bash
# test-debian-nginx.sh SUITE [TEST...]
#
# Runs the integration tests, or those named, on the nginx of a Debian release: its own binary with its own
# libraries, in a directory that becomes its root. Nothing is installed; chroot needs root.
set -euo pipefail

suite=$1
shift
tests=("$@")
cd "$(dirname "$0")/.."

root=$PWD/build/debian/$suite
case $suite in
    bullseye) package="nginx-core" ;;
    *) package="nginx" ;;
esac
scripts/debian.sh "$suite" "$root" "$package"

# What the packages' own scripts would have made and the system is to have, and ...
mkdir -p "$root/tmp" "$root/etc" "$root/var/log/nginx"
chmod 1777 "$root/tmp"
printf '%s:x:%s:%s::/:/usr/sbin/nologin\n' root 0 0 www-data 33 33 nobody 65534 65534 >"$root/etc/passwd"
printf '%s:x:%s:\n' root 0 www-data 33 nogroup 65534 >"$root/etc/group"
cp /etc/hosts "$root/etc/"
# An nginx that goes to the background opens it; a device would take a privilege.
mkdir -p "$root/dev"
: >"$root/dev/null"
# ... paths that lead into it from outside lead to the same files inside.
mkdir -p "$root$(dirname "$root")"
ln -sfn / "$root$root"

nginx=$root.nginx
cat >"$nginx" <<SH
#!/bin/sh
exec chroot '$root' /usr/sbin/nginx "\$@"
SH
chmod +x "$nginx"
version=$("$nginx" -v 2>&1 | sed 's/.*nginx\/\([0-9.]*\).*/\1/')
echo "== nginx $version of Debian $suite"

# Debian's nginx need not be nginx's: a patch of bookworm's moves bits of ngx_connection_t. nginx-dev has the headers
# that a module must be built with. Bullseye has none, but there the patches leave the headers that matter alone.
if [ "$suite" = bullseye ]; then
    tree=$PWD/build/nginx-$version/src
    make --no-print-directory "$tree/objs/Makefile" NGINX_VERSION="$version"
else
    scripts/debian.sh --only "$suite" "$root-dev" nginx-dev
    tree=$root-dev/usr/share/nginx/src
    if [ ! -e "$tree/objs/Makefile" ]; then
        # shellcheck source=/dev/null
        (cd "$tree" && . ./conf_flags && ./configure "${NGX_CONF_FLAGS[@]}" >configure.log)
    fi
fi
module=$root/usr/lib/nginx/modules/ngx_http_authgear_module.so
mkdir -p "$(dirname "$module")"
build() { # VARIABLE...
    # All suites share what does not depend on nginx.
    CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/build/debian/target} \
        make --no-print-directory module OUT="$root-module" GLIBC=2.28 "$@"
    cp "$root-module/glibc-2.28/ngx_http_authgear_module.so" "$module"
}

if [ "$suite" = bookworm ]; then
    # With the headers of nginx.org's 1.22.1 the module loads, and would read wrong bits.
    build NGINX_VERSION="$version"
    echo "load_module ${module#"$root"}; error_log stderr; events {} http {}" >"$root/tmp/stranger.conf"
    said=$("$nginx" -t -c /tmp/stranger.conf 2>&1) && refused=no || refused=yes
    if [ "$refused" = no ] || ! grep -q 'authgear: this nginx is laid out otherwise' <<<"$said"; then
        echo "test-debian: a module for nginx.org's $version is not refused: $said" >&2
        exit 1
    fi
    echo "test-debian: a module for nginx.org's $version is refused"
fi
build NGINX_SOURCE_DIR="$tree"

AUTHGEAR_NGINX=$nginx AUTHGEAR_MODULE=$module TMPDIR=$root/tmp \
    "${CARGO:-cargo}" test --no-fail-fast -p authgear-integration "${tests[@]/#/--test=}"
