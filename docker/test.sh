#!/usr/bin/env bash
# test.sh
#
# Builds the images, starts the compose file and looks at it from outside: what the app sees, and what happens when a
# container goes, hangs, is cut off, or comes back elsewhere. Removes what it has started. Where Docker reaches no
# registry, the base images are stand-ins: see base-images.sh.
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
. docker/check.sh

export NGINX_VERSION=${NGINX_VERSION:-1.18}
# One that is free.
PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export PORT
project="nginx-authgear-test"
image=nginx-authgear:$NGINX_VERSION
site=http://127.0.0.1:$PORT
work=$PWD/build/docker/test
alice=0b1e2d6c-5f0a-4c57-9a27-6f5f0c1d9a01
mkdir -p "$work"

if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
else
    compose=(docker-compose)
fi
compose+=(-p "$project" -f docker/compose.yaml)

quietly() {
    "$@" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        return 1
    }
}

up() {
    quietly "${compose[@]}" up -d --no-build "$@"
}

container() { # SERVICE
    "${compose[@]}" ps -aq "$1"
}

evict() {
    docker ps -aq --filter "label=$project-squatter" | xargs -r docker rm -f >/dev/null
}

clean_up() {
    evict
    "${compose[@]}" down --timeout 2 --volumes >"$work/log" 2>&1 || cat "$work/log" >&2
}

# -- the image

for base in nginx:"$NGINX_VERSION" rust:1-bookworm debian:bookworm-slim python:3-slim; do
    docker image inspect "$base" >/dev/null 2>&1 || docker pull --quiet "$base" 2>/dev/null ||
        docker/base-images.sh "$base"
done

echo "== building"
start=$SECONDS
docker build -f docker/Dockerfile --build-arg "NGINX_VERSION=$NGINX_VERSION" -t "$image" . >"$work/build.log" 2>&1 ||
    { tail -n 30 "$work/build.log" >&2 && exit 1; }
docker build -f docker/double.Dockerfile -t authgear-resolver-double . >"$work/double.log" 2>&1 ||
    { tail -n 30 "$work/double.log" >&2 && exit 1; }
echo "== built in $((SECONDS - start)) s"

trap clean_up EXIT
clean_up

# What users would notice of an image, apart from its files.
face() {
    docker image inspect --format '{{with .Config}}{{json .Entrypoint}} {{json .Cmd}} user={{.User}} {{json .Env}}
        {{json .ExposedPorts}} {{json .WorkingDir}} {{json .StopSignal}} {{json .Volumes}}{{end}}' "$1"
}

# The files of an image, with what they are and hold.
files() { # IMAGE LIST
    docker run --rm --user 0 --entrypoint sh "$1" -c 'find / -xdev \
        -not -path "/proc/*" -not -path "/sys/*" -not -path "/dev/*" \
        -not -path /etc/hosts -not -path /etc/hostname -not -path /etc/resolv.conf -not -path /.dockerenv \
        \( -type f -exec sh -c "stat -c \"%a %u:%g %n\" \"\$@\"; cksum \"\$@\"" - {} + \) -o -printf "%m %U:%G %l %p\n"' |
        sort >"$2"
}

same_face() {
    diff <(face nginx:"$NGINX_VERSION") <(face "$image")
}

only_ours_differ() {
    files nginx:"$NGINX_VERSION" "$work/base.files"
    files "$image" "$work/ours.files"
    diff "$work/base.files" "$work/ours.files" | sed -n 's/^[<>].* \(\/.*\)/\1/p' | sort -u >"$work/differ"
    diff - "$work/differ" <<'LIST'
/etc/nginx/nginx.conf
/usr/lib/nginx/modules/ngx_http_authgear_module.so
LIST
}

one_line_more() {
    diff <(docker run --rm nginx:"$NGINX_VERSION" cat /etc/nginx/nginx.conf) \
        <(docker run --rm "$image" cat /etc/nginx/nginx.conf) >"$work/conf.diff" || true
    [ "$(grep -c '^[<>]' "$work/conf.diff")" = 1 ] &&
        grep -qx '> load_module modules/ngx_http_authgear_module.so;' "$work/conf.diff"
}

old_libc_is_enough() {
    docker run --rm "$image" cat /usr/lib/nginx/modules/ngx_http_authgear_module.so >"$work/module.so"
    packaging/check-module.sh "$work/module.so" 2.28
}

loads_with_conf_d() {
    docker run --rm "$image" sh -c "printf 'server { listen 81; location / { authgear_resolve http://127.0.0.1:3001;
        proxy_pass http://127.0.0.1:8000; } }' >/etc/nginx/conf.d/app.conf && nginx -t"
}

echo "== the image"
check "entry point, command, user, ports and the rest are the base's" same_face
check "two files differ from the base's" only_ours_differ
check "nginx.conf has one line more" one_line_more
check "the module needs no glibc newer than 2.28" old_libc_is_enough
check "a file in conf.d is all that it takes" loads_with_conf_d

# -- the stack

echo "== the stack"
start=$SECONDS
up
nginx=$(container nginx)

healthy() { # SERVICE
    [ "$(docker inspect --format '{{.State.Health.Status}}' "$(container "$1")")" = healthy ]
}

for service in authgear app nginx; do
    check "$service becomes healthy" eventually 60 healthy "$service"
done
echo "== up in $((SECONDS - start)) s"

# get STATUS OPTION...: /app answers with STATUS; its answer is in $work/body, its head in $work/head.
get() {
    local status=$1 got
    shift
    got=$(curl --silent --max-time 30 --dump-header "$work/head" --output "$work/body" --write-out '%{http_code}' \
        "$@" "$site/app") || true
    [ "$got" = "$status" ] || {
        echo "status $got, not $status"
        return 1
    }
}

app_saw() { # LINE
    grep -qx -- "$1" "$work/body" || {
        echo "the app saw no: $1"
        cat "$work/body"
        return 1
    }
}

app_saw_no_identity() {
    not grep -i 'x.authgear' "$work/body"
}

visitor_passes() {
    get 200 && app_saw_no_identity
}

alice_is_known() {
    get 200 --cookie session=alice.secret && app_saw "x-authgear-session-valid: true" &&
        app_saw "x-authgear-user-id: $alice"
}

alice_is_known_by_token() {
    get 200 --header "Authorization: Bearer alice-token" && app_saw "x-authgear-user-id: $alice"
}

dead_session_is_cleared() {
    get 200 --cookie session=alice-expired.secret && app_saw "x-authgear-session-valid: false" &&
        grep -qi '^set-cookie: session=;' "$work/head"
}

forger_is_nobody() {
    get 200 --header "x-authgear-session-valid: true" --header "x-authgear-user-id: $alice" \
        --header "X_Authgear_User_Id: $alice" && app_saw_no_identity
}

bob_has_no_role() {
    get 200 --cookie session=bob.secret --header "x-authgear-user-roles: store_manager" &&
        not grep -q 'x-authgear-user-roles' "$work/body"
}

login_page_is_there() {
    curl --silent --fail --max-time 10 "$site/login?redirect_uri=$site/app" | grep -q '<form'
}

can_sign_in() {
    rm -f "$work/cookies"
    curl --silent --output /dev/null --max-time 10 --cookie-jar "$work/cookies" --data user=alice \
        --data-urlencode "redirect_uri=$site/app" "$site/login"
    get 200 --cookie "$work/cookies" && app_saw "x-authgear-user-id: $alice"
}

check "a visitor reaches the app, without identity" visitor_passes
check "Alice is known by her cookie" alice_is_known
check "Alice is known by her token" alice_is_known_by_token
check "a dead session is told to the app, and its cookie cleared" dead_session_is_cleared
check "a forger is nobody" forger_is_nobody
check "Bob cannot help himself to a role" bob_has_no_role
check "Authgear's pages are there" login_page_is_there
check "who signs in there is known to the app" can_sign_in

inside() {
    docker exec "$nginx" "$@"
}

runs_without_root() { # SERVICE
    docker top "$(container "$1")" -o pid,uid | awk 'NR > 1 && $2 > 0 { some = 1 } $2 == "0" { exit 1 } END { exit !some }'
}

cannot_write() {
    local answer
    answer=$(inside touch /etc/nginx/x 2>&1) || true
    grep 'Read-only file system' <<<"$answer"
}

not_reached_from_outside() {
    [ -z "$(docker port "$(container app)")$(docker port "$(container authgear)")" ]
}

for service in nginx authgear app; do
    check "$service runs without root" runs_without_root "$service"
done
check "nginx's file system is read-only" cannot_write
check "app and Authgear publish no port" not_reached_from_outside

# -- what goes wrong

network=${project}_back

address() { # SERVICE
    docker inspect --format "{{(index .NetworkSettings.Networks \"$network\").IPAddress}}" "$(container "$1")"
}

# squat ADDRESS: takes it, so that a container that starts later gets another.
squat() {
    local taken='' squatter
    until [ "$taken" = "$1" ]; do
        squatter=$(docker run -d --label "$project-squatter" --network "$network" --entrypoint sleep python:3-slim 3600)
        taken=$(docker inspect --format "{{(index .NetworkSettings.Networks \"$network\").IPAddress}}" "$squatter")
    done
}

reload() {
    inside nginx -s reload >/dev/null 2>&1
    sleep 1
}

alice_is_refused() {
    get 503 --cookie session=alice.secret
}

# Without a resolver: nobody who may be somebody gets in, and who is nobody for certain does.
denied_but_visitors() { # WHAT
    check "$1: with a credential 503" alice_is_refused
    check "$1: a visitor passes, without identity" visitor_passes
    check "$1: a forger is nobody" forger_is_nobody
}

echo "== the resolver is stopped"
quietly "${compose[@]}" stop --timeout 2 authgear
denied_but_visitors "stopped"
check "the log says why" sh -c "docker logs $nginx 2>&1 | grep -q 'authgear: .*denying'"
up authgear
check "started again, Alice is known without a reload" eventually 20 alice_is_known

echo "== the resolver is paused"
docker pause "$(container authgear)" >/dev/null
start=$SECONDS
check "paused: with a credential 503" alice_is_refused
check "... within the time-out" test $((SECONDS - start)) -le 12
check "paused: a visitor passes, without identity" visitor_passes
docker unpause "$(container authgear)" >/dev/null
check "unpaused, Alice is known" eventually 20 alice_is_known

echo "== the resolver is cut off from the network"
docker network disconnect "$network" "$(container authgear)"
denied_but_visitors "cut off"
docker network connect --alias authgear "$network" "$(container authgear)"
check "connected again, Alice is known without a reload" eventually 20 alice_is_known

echo "== the resolver comes back at another address"
before=$(address authgear)
quietly "${compose[@]}" rm -sf authgear
squat "$before"
up authgear
eventually 60 healthy authgear || true
check "it has another address" test "$(address authgear)" != "$before"
check "Alice is known without a reload" eventually 20 alice_is_known
evict

echo "== the app is replaced, at another address"
before=$(address app)
quietly "${compose[@]}" rm -sf app
squat "$before"
up app
eventually 60 healthy app || true
check "it has another address" test "$(address app)" != "$before"
check "Alice reaches it without a reload" eventually 20 alice_is_known
evict

echo "== nginx reloads under load"
# load SECONDS: requests one after another, by two clients; their statuses go to $work/load.
load() {
    local end=$((SECONDS + $1))
    while [ "$SECONDS" -lt "$end" ]; do
        curl --silent --output /dev/null --max-time 10 --write-out '%{http_code}\n' --cookie session=alice.secret \
            "$site/app?[1-20]" || true
    done >>"$work/load"
}
: >"$work/load"
load 6 &
clients=($!)
load 6 &
clients+=($!)
sleep 2
reload
reload
wait "${clients[@]}"
check "no request fails ($(wc -l <"$work/load") made)" sh -c "[ -s '$work/load' ] && ! grep -vx 200 '$work/load'"

echo "== nginx is replaced"
up --force-recreate --no-deps nginx
nginx=$(container nginx)
check "the new one becomes healthy" eventually 60 healthy nginx
check "Alice is known" alice_is_known

echo "== nginx ends"
start=$SECONDS
quietly "${compose[@]}" stop --timeout 20 nginx
check "at once when it is told to" test $((SECONDS - start)) -le 10
check "... and with status 0" test "$(docker inspect --format '{{.State.ExitCode}}' "$nginx")" = 0

echo "== a cache, and the resolver is stopped"
awk '/^    server \{/ && !seen++ { print "    authgear_cache_zone zone=auth:1m;" }
     { print }
     /listen 8080;/ { print "authgear_cache auth; authgear_cache_valid 1s; authgear_cache_use_stale 10m;" }' \
    docker/nginx.conf >"$work/cache.conf"
export NGINX_CONF=$work/cache.conf
up --force-recreate --no-deps nginx
nginx=$(container nginx)
check "nginx becomes healthy" eventually 60 healthy nginx
check "Alice is known" eventually 10 alice_is_known
quietly "${compose[@]}" stop --timeout 2 authgear
sleep 2
check "Alice, of whom nginx has heard, goes on" alice_is_known
check "who is new is refused" get 503 --cookie session=bob.secret
up authgear
check "started again, who is new is known" eventually 20 get 200 --cookie session=bob.secret
unset NGINX_CONF

summary
