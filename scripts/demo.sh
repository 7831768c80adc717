#!/usr/bin/env bash
# demo.sh NGINX MODULE RESOLVER
#
# Starts RESOLVER (the double of Authgear's), docker/app.py and NGINX with MODULE and nginx-conf/authgear.conf, shows
# what four clients get and what the app sees of them, and stops. KEEP=1 leaves all running. CONF= for another file.
set -euo pipefail

nginx=$1 module=$2 resolver=$3
cd "$(dirname "$0")/.."
conf=$PWD/${CONF:-nginx-conf/authgear.conf}
prefix=$PWD/build/demo
site=http://$(sed -n 's/^ *listen \(.*\);/\1/p' "$conf")

pids=()
stop() {
    local pid
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
}
trap stop EXIT
trap 'exit 130' INT TERM

answers() { # HOST:PORT
    (exec 3<>"/dev/tcp/${1%:*}/${1#*:}") 2>/dev/null
}

start() { # HOST:PORT LOG COMMAND...
    local address=$1 log=$prefix/logs/$2
    shift 2
    # In a session of its own, it outlives the terminal when it is kept.
    setsid "$@" >"$log" 2>&1 </dev/null &
    pids+=($!)
    for _ in $(seq 100); do
        answers "$address" && return
        kill -0 "${pids[-1]}" 2>/dev/null || break
        sleep 0.1
    done
    echo "demo: $1 does not start:" >&2
    cat "$log" >&2
    exit 1
}

for address in "${site#http://}" 127.0.0.1:3000 127.0.0.1:3001 127.0.0.1:8000; do
    if answers "$address"; then
        echo "demo: something listens on $address already: a demo left running with KEEP=1?" >&2
        exit 1
    fi
done

rm -rf "$prefix"
mkdir -p "$prefix/logs" "$prefix/modules"
cp "$module" "$prefix/modules/"

start 127.0.0.1:3001 resolver.log "$resolver" --listen 127.0.0.1:3001 --listen 127.0.0.1:3000 \
    --sessions double/sessions.example.json --log
start 127.0.0.1:8000 app.log python3 docker/app.py 127.0.0.1:8000
start "${site#http://}" nginx.log "$nginx" -p "$prefix" -c "$conf" -g 'daemon off;'

say() {
    printf '%s\n' "$@"
}

# request TITLE HEADER...: makes it and shows what was sent, what came back and what the app saw.
request() {
    local title=$1 header options=()
    shift
    say "" "== $title" "" "   sent:"
    say "     GET /app"
    for header; do
        say "     $header"
        options+=(--header "$header")
    done
    curl --silent --show-error --max-time 10 --dump-header "$prefix/head" --output "$prefix/body" "${options[@]}" \
        "$site/app"
    say "" "   answer:"
    sed -n '1p; /^set-cookie:/Ip' "$prefix/head" | tr -d '\r' | sed 's/^/     /'
    say "" "   the app saw:"
    sed 's/^/     /' "$prefix/body"
}

say "nginx on $site with $conf"

request "A visitor, without any credential"

request "Alice, signed in" \
    "Cookie: session=alice.secret"

request "Alice again, her session expired: Authgear's answer clears the cookie" \
    "Cookie: session=alice-expired.secret"

request "A forger, who says that he is Alice" \
    "x-authgear-session-valid: true" \
    "x-authgear-user-id: 0b1e2d6c-5f0a-4c57-9a27-6f5f0c1d9a01" \
    "x-authgear-user-roles: store_manager"

request "Bob, signed in, who helps himself to a role" \
    "Cookie: session=bob.secret" \
    "x-authgear-user-roles: store_manager"

say ""
if [ "${KEEP:-0}" = 1 ]; then
    trap - EXIT
    say "Left running:" \
        "   nginx      $site/app, and a login page at $site/login?redirect_uri=$site/app" \
        "   resolver   http://127.0.0.1:3001, with the sessions of double/sessions.example.json" \
        "   app        http://127.0.0.1:8000" \
        "   logs       $prefix/logs" \
        "Stop it with:  kill ${pids[*]}"
fi
