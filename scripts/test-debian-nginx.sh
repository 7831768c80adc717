#!/usr/bin/env bash
# test-debian-nginx.sh SUITE [TEST...]
#
# Runs the integration tests, or those named, on the nginx of a Debian release: its own binary with its own
# libraries, in a directory that becomes its root. Nothing is installed; chroot needs root.
set -euo pipefail

suite=$1
shift
cd "$(dirname "$0")/.."

case $suite in
    bullseye) package="nginx-core" ;;
    *) package="nginx" ;;
esac
root=$PWD/build/debian/$suite
scripts/debian.sh "$suite" "$root" "$package"

# What the packages' own scripts would have made, and ...
mkdir -p "$root/tmp" "$root/etc" "$root/var/log/nginx"
chmod 1777 "$root/tmp"
printf '%s:x:%s:%s::/:/usr/sbin/nologin\n' root 0 0 www-data 33 33 nobody 65534 65534 >"$root/etc/passwd"
printf '%s:x:%s:\n' root 0 www-data 33 nogroup 65534 >"$root/etc/group"
# ... inside as outside, paths of files in there are the same.
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
make --no-print-directory module NGINX_VERSION="$version" GLIBC=2.28
module=$root/usr/lib/nginx/modules/ngx_http_authgear_module.so
mkdir -p "$(dirname "$module")"
cp "build/nginx-$version/glibc-2.28/ngx_http_authgear_module.so" "$module"

AUTHGEAR_NGINX=$nginx AUTHGEAR_MODULE=$module TMPDIR=$root/tmp "${CARGO:-cargo}" test -p authgear-integration "$@"
