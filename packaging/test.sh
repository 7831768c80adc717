#!/usr/bin/env bash
# test.sh
#
# Installs the packages in dist/ into the Debian releases that they are for, with Debian's nginx, runs the README's
# first configuration, and removes them again. In Docker, with the double's image that docker/test.sh builds, and with
# stand-ins for Debian's images where no registry is reached.
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
. docker/check.sh

project="authgear-package-test"
name=libnginx-mod-http-authgear
work=$PWD/build/docker/packages
mkdir -p "$work"

clean_up() {
    docker ps -aq --filter "label=$project" | xargs -r docker rm -f >/dev/null
}
trap clean_up EXIT
clean_up

# What the README shows under "Resolve, and let the app decide".
awk '/^### Resolve, and let the app decide/ { here = 1 }
     here && /^```$/ { exit }
     here && code { print }
     here && /^```nginx/ { code = 1 }' README.md >"$work/readme.conf"
check "the README has a configuration" grep -q authgear_resolve "$work/readme.conf"
check "the sums are right" sh -c 'cd dist && sha256sum --check --quiet SHA256SUMS'

inside() {
    docker exec "$project" "$@"
}

install_packages() {
    inside sh -c "DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $*"
}

# get STATUS LINE [HEADER]: /app answers with STATUS, and the app saw LINE, if any.
get() {
    local got
    got=$(inside curl --silent --max-time 10 --write-out '%{http_code}' --header "${3:-A: b}" http://127.0.0.1/app)
    case $got in
        *"$2"*"$1") ;;
        *)
            echo "not $1 with $2: $got"
            return 1
            ;;
    esac
}

nginx_serves() { # a page of its own
    inside sh -c 'curl --silent --fail --max-time 10 http://127.0.0.1/ | grep -q "Welcome to nginx"'
}

no_package_of_another_nginx() {
    not inside apt-get install --simulate "/dist/$1"
}

for package in dist/"$name"_*.deb; do
    file=$(basename "$package")
    case $file in
        *~deb11_*) suite=bullseye nginx=nginx-core ;;
        *~deb12_*) suite=bookworm nginx=nginx ;;
        *~deb13_*) suite=trixie nginx=nginx ;;
    esac
    echo "== $file in Debian's $suite"
    image=debian:$suite-slim
    docker image inspect "$image" >/dev/null 2>&1 || docker pull --quiet "$image" 2>/dev/null ||
        docker/base-images.sh "$image"
    clean_up
    docker run -d --init --label "$project" --name "$project" -v "$PWD/dist:/dist:ro" "$image" sleep 3600 >/dev/null
    docker run -d --label "$project" --network "container:$project" authgear-resolver-double >/dev/null
    docker run -d --label "$project" --network "container:$project" -v "$PWD/docker/app.py:/app.py:ro" \
        python:3-slim python3 /app.py 127.0.0.1:8000 >/dev/null
    inside sh -c 'printf "#!/bin/sh\nexit 101\n" >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d &&
        apt-get update -q' >"$work/log" 2>&1

    check "$nginx installs" install_packages "$nginx" curl
    inside nginx
    check "nginx serves" nginx_serves
    check "the package installs" install_packages "/dist/$file"
    check "it enables the module" \
        inside grep -qx 'load_module modules/ngx_http_authgear_module.so;' /etc/nginx/modules-enabled/50-mod-http-authgear.conf
    check "the configuration as it was is valid" inside nginx -t
    docker cp "$work/readme.conf" "$project:/etc/nginx/sites-available/app" >/dev/null
    inside sh -c 'rm /etc/nginx/sites-enabled/default; ln -s ../sites-available/app /etc/nginx/sites-enabled/app'
    check "the README's configuration is valid" inside nginx -t
    inside nginx -s reload 2>/dev/null
    check "Alice is known" eventually 10 get 200 "x-authgear-session-valid: true" "Cookie: session=alice.secret"
    check "a visitor reaches the app" get 200 "host: 127.0.0.1"
    check "reinstalling keeps it enabled" install_packages --reinstall "/dist/$file"
    check "... and working" eventually 10 get 200 "x-authgear-session-valid: true" "Cookie: session=alice.secret"

    inside sh -c 'rm /etc/nginx/sites-enabled/app; ln -s ../sites-available/default /etc/nginx/sites-enabled/default'
    check "the package is removed" inside apt-get remove -qy $name
    check "nginx's configuration is valid then" inside nginx -t
    inside nginx -s quit 2>/dev/null
    sleep 1
    inside nginx
    check "nginx serves then" nginx_serves
    check "installed again, it is enabled again" install_packages "/dist/$file"
    check "... and nginx's configuration valid" inside sh -c 'nginx -T 2>/dev/null | grep -q ngx_http_authgear_module'
    check "the package is purged" inside apt-get purge -qy $name
    check "nothing of it is left" \
        inside sh -c '! find / -xdev -iname "*authgear*" -not -path "/dist/*" -not -path "/proc/*" | grep .'
    check "nginx's configuration is valid then" inside nginx -t

    for other in dist/"$name"_*.deb; do
        [ "$other" = "$package" ] ||
            check "$(basename "$other") is refused" no_package_of_another_nginx "$(basename "$other")"
    done
done

summary
