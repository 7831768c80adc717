#!/usr/bin/env bash
# deb.sh SUITE VERSION DIRECTORY GLIBC
#
# Makes libnginx-mod-http-authgear for the nginx of a Debian release, as Debian's own modules are: the module, a
# snippet in modules-available, a link to it in modules-enabled. Prints the package's path.
set -euo pipefail

suite=$1 version=$2 directory=$3 glibc=$4
cd "$(dirname "$0")/.."

name=libnginx-mod-http-authgear
architecture=$(dpkg --print-architecture)
build=build/debian/$suite
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/build/debian/target}
case $suite in
    bullseye) release=11 ;;
    bookworm) release=12 ;;
    trixie) release=13 ;;
    *)
        echo "deb: unknown release $suite" >&2
        exit 2
        ;;
esac

# What the module is built with, and which nginx it needs. Debian 12 and later tell it by a virtual package that
# changes with the layout of nginx's structures; their nginx-dev has the headers. In Debian 11 the patches leave the
# headers alone, and a module must name the version.
if [ "$suite" = bullseye ]; then
    nginx=1.18.0
    env -u MAKEFLAGS -u MAKELEVEL make --no-print-directory module NGINX_VERSION=$nginx GLIBC="$glibc" >&2
    module=build/nginx-$nginx/glibc-$glibc/ngx_http_authgear_module.so
    needs="nginx-common (>= $nginx), nginx-common (<< ${nginx%.*}.$((${nginx##*.} + 1))~)"
    needs+=", nginx-core | nginx-full | nginx-light | nginx-extras"
else
    scripts/debian.sh --only "$suite" "$build-dev" nginx-dev
    tree=$build-dev/usr/share/nginx/src
    if [ ! -e "$tree/objs/Makefile" ]; then
        # shellcheck source=/dev/null
        (cd "$tree" && . ./conf_flags && ./configure "${NGX_CONF_FLAGS[@]}" >configure.log)
    fi
    nginx=$(sed -n 's/^#define NGINX_VERSION *"\(.*\)"/\1/p' "$tree/src/core/nginx.h")
    env -u MAKEFLAGS -u MAKELEVEL make --no-print-directory module NGINX_SOURCE_DIR="$tree" OUT="$PWD/$build-module" GLIBC="$glibc" >&2
    module=$build-module/glibc-$glibc/ngx_http_authgear_module.so
    needs=$(sed -n 's/^nginx:abi=//p' "$tree/debian/libnginx-mod.abisubstvars")
    [ -n "$needs" ] || {
        echo "deb: nginx-dev of $suite tells no nginx-abi" >&2
        exit 1
    }
fi
libc=$(packaging/check-module.sh "$module" "$glibc" "$nginx")

root=$build-package
rm -rf "$root"
documents=$root/usr/share/doc/$name
snippets=$root/usr/share/nginx/modules-available
mkdir -p "$root/DEBIAN" "$root/usr/lib/nginx/modules" "$snippets" "$documents"
strip --strip-unneeded -o "$root/usr/lib/nginx/modules/ngx_http_authgear_module.so" "$module"
echo 'load_module modules/ngx_http_authgear_module.so;' >"$snippets/mod-http-authgear.conf"
cp README.md SECURITY.md CHANGELOG.md docs/directives.md "$documents/"
cp LICENSE "$documents/copyright"
find "$root" -type d -exec chmod 755 {} +
find "$root" -type f -exec chmod 644 {} +
for script in postinst prerm postrm; do
    install -m 755 "packaging/deb/$script" "$root/DEBIAN/"
done

cat >"$root/DEBIAN/control" <<CONTROL
Package: $name
Version: $version-1~deb$release
Architecture: $architecture
Maintainer: nginx-authgear <nginx-authgear@localhost>
Installed-Size: $(du -sk --apparent-size --exclude=DEBIAN "$root" | cut -f 1)
Depends: $needs, libc6 (>= $libc), libgcc-s1 (>= 3.0)
Section: httpd
Priority: optional
Description: authenticates nginx's requests against Authgear
 A dynamic module for nginx that resolves each request at Authgear's resolver,
 passes the identity on to the application, removes forged identity headers,
 caches sessions and enforces who may pass.
CONTROL
(cd "$root" && find usr -type f -exec md5sum {} +) >"$root/DEBIAN/md5sums"

package=$directory/${name}_$version-1~deb${release}_$architecture.deb
dpkg-deb --root-owner-group -Zxz --build "$root" "$package" >&2
echo "$package"
