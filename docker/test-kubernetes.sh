#!/usr/bin/env bash
# test-kubernetes.sh
#
# Looks at kubernetes.yaml: against the schemas of Kubernetes, for names that must agree, and whether a webhook and a
# purge reach every nginx. For that the containers of two of its pods run in Docker, with what the ConfigMap holds,
# and Docker's DNS for the headless service. Needs the images that test.sh builds, and PyPI for the schemas.
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
. docker/check.sh

project="authgear-kubernetes-test"
work=$PWD/build/docker/kubernetes
alice=0b1e2d6c-5f0a-4c57-9a27-6f5f0c1d9a01
secret="a-webhook-secret"
mkdir -p "$work"

validator=build/docker/kubernetes-validate
if ! "$validator/bin/kubernetes-validate" --version >/dev/null 2>&1; then
    python3 -m venv "$validator"
    "$validator/bin/pip" install --quiet kubernetes-validate==1.37.0
fi

echo "== the manifests"
for kubernetes in 1.25 1.31 1.37; do
    check "valid for Kubernetes $kubernetes" \
        "$validator/bin/kubernetes-validate" --strict --quiet -k $kubernetes docker/kubernetes.yaml
done

# Writes the files of the ConfigMap to $work.
agree() {
    "$validator/bin/python" - "$work" <<'PY'
import sys
import yaml

objects = list(yaml.safe_load_all(open("docker/kubernetes.yaml")))
named = {(o["kind"], o["metadata"]["name"]): o for o in objects}
pod = named["Deployment", "nginx-authgear"]["spec"]["template"]
labels = pod["metadata"]["labels"]
assert named["Deployment", "nginx-authgear"]["spec"]["selector"]["matchLabels"] == labels
ports = {p["name"] for c in pod["spec"]["containers"] for p in c["ports"]}
volumes = {v["name"]: v for v in pod["spec"]["volumes"]}
for (kind, name), o in named.items():
    if kind == "Service":
        assert o["spec"]["selector"] == labels, name
        assert all(p["targetPort"] in ports for p in o["spec"]["ports"]), name
    if kind == "NetworkPolicy":
        assert o["spec"]["podSelector"]["matchLabels"] == labels, name
        assert all(p["port"] in ports for rule in o["spec"]["ingress"] for p in rule["ports"]), name
files = named["ConfigMap", volumes["conf"]["configMap"]["name"]]["data"]
for container in pod["spec"]["containers"]:
    for mount in container["volumeMounts"]:
        assert mount["name"] in volumes, mount
        assert mount["name"] != "conf" or mount["subPath"] in files, mount
assert f"PEERS, PORT = \"nginx-authgear-peers\", {named['Service', 'nginx-authgear-peers']['spec']['ports'][0]['port']}" \
    in files["relay.py"]
for name, text in files.items():
    open(f"{sys.argv[1]}/{name}", "w").write(text)
PY
}
check "selectors, ports, volumes and files agree" agree

echo "== two pods"
clean_up() {
    docker ps -aq --filter "label=$project" | xargs -r docker rm -f >/dev/null
    docker network rm "$project" >/dev/null 2>&1 || true
}
trap clean_up EXIT
clean_up

run() { # NAME OPTION...
    docker run -d --label "$project" --name "$project-$1" --read-only --cap-drop ALL \
        --security-opt no-new-privileges "${@:2}" >/dev/null
}

install -m 755 -d "$work/secret"
echo "$secret" >"$work/secret/secret"
docker network create --internal "$project" >/dev/null
run authgear --network "$project" --network-alias authgear authgear-resolver-double
run app --network "$project" --network-alias app --user 65534:65534 -v "$PWD/docker/app.py:/app.py:ro" \
    python:3-slim python3 /app.py 0.0.0.0:8000
for pod in 1 2; do
    run nginx-$pod --network "$project" --network-alias nginx-authgear-peers --user 101:101 \
        --tmpfs /run:uid=101 --tmpfs /var/cache/nginx:uid=101 \
        -v "$work/nginx.conf:/etc/nginx/nginx.conf:ro" -v "$work/secret:/etc/nginx/authgear:ro" nginx-authgear:1.18
    run relay-$pod --network "container:$project-nginx-$pod" --user 101:101 \
        -v "$work/relay.py:/relay/relay.py:ro" python:3-slim python3 -u /relay/relay.py
done

# ask POD METHOD URL [HEADER=VALUE]... [BODY]: from inside of the pod; prints status and body.
ask() {
    docker exec -i "$project-relay-$1" python3 - "${@:2}" <<'PY'
import sys
import urllib.error
import urllib.request

method, url, *rest = sys.argv[1:]
headers = dict(word.split("=", 1) for word in rest if not word.startswith("{"))
body = next((word.encode() for word in rest if word.startswith("{")), None)
try:
    answer = urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method), timeout=20)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status)
print(answer.read().decode())
PY
}

answers() { # STATUS POD METHOD URL...
    local got
    got=$(ask "${@:2}" | sed -n 1p)
    [ "$got" = "$1" ] || {
        echo "status $got, not $1"
        return 1
    }
}

counter() { # POD NAME
    ask "$1" GET "http://127.0.0.1:8082/status?format=prometheus" |
        awk -v name="nginx_authgear_$2" '$1 == name { print $2 }'
}

counts() { # POD NAME VALUE
    local got
    got=$(counter "$1" "$2")
    [ "$got" = "$3" ] || {
        echo "$2 is $got, not $3"
        return 1
    }
}

app=http://127.0.0.1:8080/app
cookie=Cookie=session=alice.secret
event="{\"type\":\"user.disabled\",\"payload\":{\"user\":{\"id\":\"$alice\"}},\"context\":{\"user_id\":\"$alice\"}}"
signature=$(printf %s "$event" | openssl dgst -sha256 -hmac "$secret" | sed 's/.* //')
webhook=(http://127.0.0.1:8080/authgear/webhook Content-Type=application/json)

for pod in 1 2; do
    check "pod $pod answers its probes" eventually 30 answers 200 $pod GET http://127.0.0.1:8082/status
    check "pod $pod: Alice is known" answers 200 $pod GET $app $cookie
    check "pod $pod: Alice is known from the cache" answers 200 $pod GET $app $cookie
    check "... and only then" counts $pod 'cache_requests_total{status="hit"}' 1
    check "pod $pod: a visitor is refused" answers 401 $pod GET $app
done

check "a webhook to the first is taken" \
    answers 204 1 POST "${webhook[@]}" "x-authgear-body-signature=$signature" "$event"
for pod in 1 2; do
    check "pod $pod has removed Alice's entry" counts $pod purged_entries_total 1
done
check "a forged one is refused" answers 401 1 POST "${webhook[@]}" "x-authgear-body-signature=${signature//[0-9]/0}" "$event"
for pod in 1 2; do
    check "pod $pod has seen it" counts $pod 'webhook_events_total{result="bad_signature"}' 1
done

# For two seconds after a purge no answer about the user is stored.
sleep 3
for pod in 1 2; do
    check "pod $pod: Alice is known again" answers 200 $pod GET $app $cookie
done
check "a purge at the second's relay is done" answers 204 2 DELETE "http://127.0.0.1:8083/purge?user=$alice"
for pod in 1 2; do
    check "pod $pod has removed Alice's entry again" counts $pod purged_entries_total 2
done
check "the relay hands on nothing else" answers 404 2 POST http://127.0.0.1:8083/status
check "... in no other way" answers 501 2 GET "http://127.0.0.1:8083/purge?user=$alice"

docker stop --time 2 "$project-nginx-2" >/dev/null
check "a pod that is gone needs no webhook" \
    answers 204 1 POST "${webhook[@]}" "x-authgear-body-signature=$signature" "$event"
docker start "$project-nginx-2" >/dev/null
docker pause "$project-nginx-2" >/dev/null
check "of one that does not answer the sender is told" \
    answers 502 1 POST "${webhook[@]}" "x-authgear-body-signature=$signature" "$event"
docker unpause "$project-nginx-2" >/dev/null

summary
