#!/usr/bin/env python3
"""Calls a gRPC server through nginx's grpc_pass with gRPC's own client.

    tests/grpc/calls.py NGINX MODULE DOUBLE

Needs grpcio (Debian: python3-grpcio; run.sh gets it from PyPI); without it, nothing is tested, and a line says so.
"""

import concurrent.futures
import json
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import servers

try:
    import grpc
except ImportError:
    grpc = None

SESSIONS = {
    "users": {"alice": {"roles": ["admin"]}, "bob": {}},
    "sessions": [
        {"kind": "bearer", "value": "alice-token", "user": "alice", "amr": ["pwd"], "authenticated_at": "now"},
        {"kind": "bearer", "value": "bob-token", "user": "bob", "amr": ["pwd"], "authenticated_at": "-1d"},
        {"kind": "session", "value": "alice.secret", "user": "alice", "amr": ["pwd"], "authenticated_at": "now"},
        {"kind": "bearer", "value": "trouble", "user": "alice", "fault": {"kind": "status", "status": 500}},
    ],
}

CONF = """
load_module modules/ngx_http_authgear_module.so;
error_log logs/error.log info;
pid logs/nginx.pid;
events {
}
http {
    access_log logs/access.log;
    server {
        listen 127.0.0.1:%(port)d http2;
        client_max_body_size 0;
        authgear_resolve http://127.0.0.1:%(resolver)d;
        location / { authgear_require session; grpc_pass grpc://127.0.0.1:%(server)d; }
        location /test.Admin/ { authgear_require role=admin; grpc_pass grpc://127.0.0.1:%(server)d; }
        location /test.Recent/ { authgear_require max_age=1h; grpc_pass grpc://127.0.0.1:%(server)d; }
        location /test.Open/ { grpc_pass grpc://127.0.0.1:%(server)d; }
    }
}
"""


def serve():
    """A server of any method: answers each message with the caller's metadata and the message's length."""

    def told(context, length):
        identity = {k: v for k, v in context.invocation_metadata() if k.startswith("x-authgear-")}
        return json.dumps({"identity": identity, "length": length}).encode()

    def unary(request, context):
        return told(context, len(request))

    def stream(requests, context):
        for request in requests:
            yield told(context, len(request))

    class Any(grpc.GenericRpcHandler):
        def service(self, details):
            if details.method.endswith("/Stream"):
                return grpc.stream_stream_rpc_method_handler(stream)
            return grpc.unary_unary_rpc_method_handler(unary)

    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), handlers=[Any()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def metadata(credential):
    if credential is None:
        return ()
    if "=" in credential:
        return (("cookie", credential),)
    return (("authorization", f"Bearer {credential}"),)


def check(channel, checks):
    def call(method, credential, message=b"", extra=()):
        """Status, or the user that the server was told."""
        try:
            answer = channel.unary_unary(method)(message, metadata=metadata(credential) + extra, timeout=20)
        except grpc.RpcError as error:
            return error.code().name
        return json.loads(answer)["identity"].get("x-authgear-user-id")

    def stream(credential, count, size):
        messages = (b"x" * size for _ in range(count))
        calls = channel.stream_stream("/test.Service/Stream")(messages, metadata=metadata(credential), timeout=20)
        try:
            return [json.loads(answer)["length"] for answer in calls]
        except grpc.RpcError as error:
            return error.code().name

    forged = (("x-authgear-user-id", "forged"), ("x-authgear-user-roles", "admin"))
    large = b"x" * 1_000_000
    for what, method, arguments, expected in [
        ("no credential", "/test.Service/Call", (None,), "UNAUTHENTICATED"),
        ("an unknown token", "/test.Service/Call", ("wrong",), "UNAUTHENTICATED"),
        ("a token", "/test.Service/Call", ("alice-token",), "alice"),
        ("a cookie", "/test.Service/Call", ("session=alice.secret",), "alice"),
        ("a large message", "/test.Service/Call", ("alice-token", large), "alice"),
        ("a large message, refused", "/test.Service/Call", (None, large), "UNAUTHENTICATED"),
        ("the role", "/test.Admin/Call", ("alice-token",), "alice"),
        ("not the role", "/test.Admin/Call", ("bob-token",), "PERMISSION_DENIED"),
        ("a forged role", "/test.Admin/Call", ("bob-token", b"", forged), "PERMISSION_DENIED"),
        ("a recent sign-in", "/test.Recent/Call", ("alice-token",), "alice"),
        ("an old sign-in", "/test.Recent/Call", ("bob-token",), "UNAUTHENTICATED"),
        ("a failing resolver", "/test.Service/Call", ("trouble",), "UNAVAILABLE"),
        ("a failing resolver, nothing required", "/test.Open/Call", ("trouble",), "UNAVAILABLE"),
        ("a visitor, nothing required", "/test.Open/Call", (None,), None),
        ("a forger, nothing required", "/test.Open/Call", (None, b"", forged), None),
    ]:
        checks.equal(f"{what}: {method}", call(method, *arguments), expected)

    checks.equal("a stream", stream("alice-token", 20, 1_000), [1_000] * 20)
    checks.equal("a stream, refused", stream(None, 20, 100_000), "UNAUTHENTICATED")

    try:
        channel.unary_unary("/test.Admin/Call")(b"", metadata=metadata("bob-token"), timeout=20)
    except grpc.RpcError as error:
        checks.equal("the message", error.details(), "The user does not have a required role.")
    try:
        channel.unary_unary("/test.Service/Call")(b"", timeout=20)
    except grpc.RpcError as error:
        initial = dict(error.initial_metadata() or ()) | dict(error.trailing_metadata() or ())
        checks.equal("the challenge, as metadata", initial.get("www-authenticate"), "Bearer")

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        credentials = ["alice-token", None, "bob-token", "trouble"] * 25
        results = list(pool.map(lambda c: call("/test.Service/Call", c), credentials))
    checks.equal("a hundred at once, on one connection", results, ["alice", "UNAUTHENTICATED", "bob", "UNAVAILABLE"] * 25)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    if not grpc:
        print("grpc: SKIPPED, no grpcio for this Python (apt-get install python3-grpcio)")
        return 0
    checks = servers.Checks()
    with servers.Servers(*sys.argv[1:]) as all_servers:
        sessions = all_servers.directory / "sessions.json"
        sessions.write_text(json.dumps(SESSIONS))
        resolver = all_servers.start_double(sessions)
        server, server_port = serve()
        port = servers.free_port()
        all_servers.start_nginx(CONF % {"port": port, "resolver": resolver, "server": server_port}, port)
        # No proxy of the environment's between the two.
        options = [("grpc.enable_http_proxy", 0)]
        with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
            check(channel, checks)
        server.stop(None)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
