#!/usr/bin/env bash
# base-images.sh [IMAGE...]
#
# Makes stand-ins for the images that docker/ builds on, from packages of the Debian mirror that apt is configured
# with: for machines whose Docker reaches no registry. As root. An image that is there already is left alone, so the
# real ones win. Those made here have the label stand-in.
#
#   debian:SUITE-slim      Debian's release SUITE
#   python:3-slim          Debian 12 with its Python
#   rust:1-bookworm        Debian 12 with gcc and a copy of this machine's Rust
#   nginx:1.18, :1.18.0    Debian 11 and its nginx 1.18.0, with users, files and entry point as in the official image
set -euo pipefail

cd "$(dirname "$0")/.."
work=$PWD/build/docker
images=("$@")
[ "$#" != 0 ] || images=(debian:bookworm-slim debian:bullseye-slim python:3-slim rust:1-bookworm nginx:1.18)

label=(--label stand-in=true)
apt='export DEBIAN_FRONTEND=noninteractive; apt-get update -q && apt-get install -qy --no-install-recommends'

has_image() {
    docker image inspect "$1" >/dev/null 2>&1
}

mirror() {
    # shellcheck disable=SC2016 # the format is apt's
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | sed -n 1p
}

# system SUITE: Debian's essential packages and apt.
system() {
    local root=$work/$1
    mkdir -p "$work"
    rm -rf "$root"
    debootstrap --variant=minbase "$1" "$root" "$(mirror)" >"$root.log" || {
        tail "$root.log" >&2
        return 1
    }
    # What this machine trusts: it may be behind a proxy of its own.
    mkdir -p "$root/etc/ssl/certs"
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    rm -f "$root"/var/cache/apt/archives/*.deb
    tar -C "$root" -c . | docker import --change 'CMD ["bash"]' --change 'LABEL stand-in=true' - "debian:$1-slim"
    rm -rf "$root"
}

# image TAG: from the Dockerfile on standard input.
image() {
    docker build --quiet "${label[@]}" --tag "$1" - </dev/stdin
}

python() {
    need debian:bookworm-slim
    image python:3-slim <<DOCKERFILE
FROM debian:bookworm-slim
RUN $apt python3 && ln -s python3 /usr/bin/python && rm -rf /var/lib/apt/lists/*
CMD ["python3"]
DOCKERFILE
}

rust() {
    need debian:bookworm-slim
    image stand-in/rust <<DOCKERFILE
FROM debian:bookworm-slim
RUN $apt ca-certificates curl gcc libc6-dev make && rm -rf /var/lib/apt/lists/*
ENV CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
DOCKERFILE
    local sysroot container
    sysroot=$(rustc --print sysroot)
    container=$(docker create stand-in/rust)
    # Updating ca-certificates has replaced them.
    docker cp /etc/ssl/certs/ca-certificates.crt "$container:/etc/ssl/certs/ca-certificates.crt"
    tar -C "$sysroot" -c --exclude='lib/rustlib/src' --exclude='*-apple-*' bin/cargo bin/rustc lib |
        docker cp - "$container:/usr/local"
    docker commit "$container" rust:1-bookworm
    docker rm "$container" >/dev/null
    docker rmi --no-prune stand-in/rust >/dev/null
}

nginx() {
    need debian:bullseye-slim
    # As the official image: nginx.conf with conf.d, user nginx with the number 101, no ca-certificates, logs to the
    # container's output, nothing in /var/cache/nginx. Debian's nginx has its temporary files elsewhere.
    image nginx:1.18 <<DOCKERFILE
FROM debian:bullseye-slim
RUN addgroup --system --gid 101 nginx \
 && adduser --system --disabled-login --ingroup nginx --no-create-home --home /nonexistent \
        --gecos "nginx user" --shell /bin/false --uid 101 nginx \
 && $apt nginx-core gettext-base \
 && rm -rf /var/lib/apt/lists/* /etc/ssl/certs/ca-certificates.crt /var/www /var/lib/nginx \
        /etc/nginx/sites-* /etc/nginx/modules-* /etc/nginx/snippets /etc/nginx/nginx.conf \
 && mkdir -p /docker-entrypoint.d /etc/nginx/conf.d /var/cache/nginx \
 && ln -s ../../usr/lib/nginx/modules /etc/nginx/modules \
 && ln -s ../cache/nginx /var/lib/nginx \
 && ln -sf /dev/stdout /var/log/nginx/access.log \
 && ln -sf /dev/stderr /var/log/nginx/error.log \
 && printf '%s\n' '' 'user  nginx;' 'worker_processes  1;' '' 'error_log  /var/log/nginx/error.log warn;' \
        'pid        /var/run/nginx.pid;' '' 'events {' '    worker_connections  1024;' '}' '' 'http {' \
        '    include       /etc/nginx/mime.types;' '    default_type  application/octet-stream;' \
        '    access_log  /var/log/nginx/access.log;' '    include /etc/nginx/conf.d/*.conf;' '}' \
        >/etc/nginx/nginx.conf \
 && printf '%s\n' 'server {' '    listen       80;' '    server_name  localhost;' \
        '    location / {' '        root   /usr/share/nginx/html;' '    }' '}' >/etc/nginx/conf.d/default.conf \
 && printf '%s\n' '#!/bin/sh' 'set -e' 'for f in /docker-entrypoint.d/*.sh; do' \
        '    [ ! -x "\$f" ] || "\$f"' 'done' 'exec "\$@"' >/docker-entrypoint.sh \
 && chmod 775 /docker-entrypoint.sh
ENV NGINX_VERSION=1.18.0
ENTRYPOINT ["/docker-entrypoint.sh"]
EXPOSE 80
STOPSIGNAL SIGTERM
CMD ["nginx", "-g", "daemon off;"]
DOCKERFILE
}

need() {
    local suite
    has_image "$1" && return
    echo "base-images: making a stand-in for $1" >&2
    case $1 in
        debian:*-slim)
            suite=${1#debian:}
            system "${suite%-slim}"
            ;;
        python:3-slim) python ;;
        rust:1-bookworm) rust ;;
        nginx:1.18) nginx ;;
        nginx:1.18.0)
            need nginx:1.18
            docker tag nginx:1.18 nginx:1.18.0
            ;;
        *)
            echo "base-images: there is no stand-in for $1" >&2
            exit 1
            ;;
    esac >&2
}

for tag in "${images[@]}"; do
    need "$tag"
done
