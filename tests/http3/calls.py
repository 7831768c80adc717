#!/usr/bin/env python3
"""Makes requests over HTTP/3 with aioquic, and looks at what the application behind nginx sees.

    tests/http3/calls.py NGINX MODULE DOUBLE
"""

import asyncio
import http.server
import json
import pathlib
import ssl
import subprocess
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import servers

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamReset

SESSIONS = {
    "users": {f"user-{n}": {"roles": [f"role-{n}"]} for n in range(20)},
    "sessions": [
        {"kind": "session", "value": f"s{n}.secret", "user": f"user-{n}", "amr": ["pwd"]} for n in range(20)
    ]
    + [{"kind": "session", "value": "slow.secret", "user": "user-1", "fault": {"kind": "hang"}}],
}

CONF = """
load_module modules/ngx_http_authgear_module.so;
error_log logs/error.log info;
pid logs/nginx.pid;
events {
}
http {
    log_format test '$request_method $request_uri $status $server_protocol';
    access_log logs/access.log test;
    ssl_certificate %(directory)s/certificate.pem;
    ssl_certificate_key %(directory)s/key.pem;
    authgear_cache_zone zone=auth:1m;
    server {
        listen 127.0.0.1:%(port)d quic reuseport;
        listen 127.0.0.1:%(port)d ssl;
        http3 on;
        client_max_body_size 0;
        authgear_resolve http://127.0.0.1:%(resolver)d;
        location / { proxy_pass http://127.0.0.1:%(app)d; }
        location /required { authgear_require session; proxy_pass http://127.0.0.1:%(app)d; }
        location /cached { authgear_cache auth; proxy_pass http://127.0.0.1:%(app)d; }
        location /login {
            authgear_require session; authgear_login https://auth.example/?rd=$authgear_return_url;
            proxy_pass http://127.0.0.1:%(app)d;
        }
        location /unbuffered { proxy_request_buffering off; proxy_pass http://127.0.0.1:%(app)d; }
    }
}
"""


class App(http.server.BaseHTTPRequestHandler):
    """Tells the request it received: all header fields, and the length of the body."""

    def answer(self):
        length = len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                length += len(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        fields = [[name.lower(), value] for name, value in self.headers.items()]
        body = json.dumps({"fields": fields, "length": length}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


class Response:
    """What came back on a stream."""

    def __init__(self):
        self.fields = []
        self.body = b""
        self.ended = asyncio.get_running_loop().create_future()

    @property
    def status(self):
        return int(self.field(":status") or 0)

    def field(self, name):
        return next((value for n, value in self.fields if n == name), None)

    def identity(self):
        """The identity fields that the application saw."""
        fields = json.loads(self.body)["fields"]
        return sorted([n, v] for n, v in fields if n.replace("_", "-").startswith("x-authgear-"))


class Client(QuicConnectionProtocol):
    """One connection."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.h3 = H3Connection(self._quic)
        self.responses = {}

    def start(self, method, path, fields=(), body=None):
        stream = self._quic.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "https"), (":authority", "site.example"), (":path", path), *fields]
        self.responses[stream] = Response()
        head = [(name.encode(), value.encode()) for name, value in head]
        self.h3.send_headers(stream, head, end_stream=body is None)
        if body is not None:
            self.h3.send_data(stream, body, end_stream=True)
        self.transmit()
        return stream

    async def finish(self, stream):
        return await asyncio.wait_for(self.responses[stream].ended, 20)

    async def request(self, *args, **kwargs):
        return await self.finish(self.start(*args, **kwargs))

    def cancel(self, stream):
        self._quic.stop_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        self.transmit()

    def quic_event_received(self, event):
        if isinstance(event, StreamReset) and event.stream_id in self.responses:
            self.end(self.responses[event.stream_id])
        for event in self.h3.handle_event(event):
            response = self.responses.get(event.stream_id)
            if not response:
                continue
            if isinstance(event, HeadersReceived):
                response.fields += [(name.decode(), value.decode()) for name, value in event.headers]
            elif isinstance(event, DataReceived):
                response.body += event.data
            if event.stream_ended:
                self.end(response)

    @staticmethod
    def end(response):
        if not response.ended.done():
            response.ended.set_result(response)


def cookie(n):
    return ("cookie", f"session=s{n}.secret")


def identity(n):
    return [
        ["x-authgear-session-amr", "pwd"],
        ["x-authgear-session-valid", "true"],
        ["x-authgear-user-id", f"user-{n}"],
        ["x-authgear-user-roles", f"role-{n}"],
    ]


def of(response):
    """The identity without the fields that are the same for all."""
    same = ("anonymous", "verified", "can-reauthenticate", "authenticated-at")
    return [pair for pair in response.identity() if not pair[0].endswith(same)]


async def check(port, site, checks):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE)
    async with connect("127.0.0.1", port, configuration=configuration, create_protocol=Client) as client:
        response = await client.request("GET", "/", [cookie(1)])
        checks.equal("the application sees the user", of(response), identity(1))

        forged = [("x-authgear-user-id", "forged"), ("x-authgear-user-roles", "forged")]
        response = await client.request("GET", "/", forged)
        checks.equal("it sees no forged identity", response.identity(), [])
        response = await client.request("GET", "/", [*forged, cookie(2)])
        checks.equal("nor beside a real one", of(response), identity(2))

        crumbs = [("cookie", "theme=dark"), cookie(3), ("cookie", "a=b")]
        response = await client.request("GET", "/", crumbs)
        checks.equal("a cookie may come in crumbs", of(response), identity(3))

        response = await client.request("GET", "/required")
        found = (response.status, response.field("www-authenticate"))
        checks.equal("a session can be required", found, (401, "Bearer"))
        response = await client.request("GET", "/required", [cookie(1)])
        checks.equal("and be there", response.status, 200)
        response = await client.request("GET", "/login?a=b", [("accept", "text/html")])
        found = (response.status, response.field("location"))
        to = "https://auth.example/?rd=https%3A%2F%2Fsite.example%2Flogin%3Fa%3Db"
        checks.equal("a visit is sent to the login page", found, (302, to))

        for path in ("/", "/cached"):
            streams = [client.start("GET", path, [cookie(n % 20)]) for n in range(60)]
            found = [of(await client.finish(stream)) for stream in streams]
            checks.equal(f"sixty streams at once, {path}", found, [identity(n % 20) for n in range(60)])

        for path in ("/", "/unbuffered"):
            response = await client.request("POST", path, [cookie(4)], body=b"b" * 300_000)
            found = (of(response), json.loads(response.body)["length"])
            checks.equal(f"a body arrives, {path}", found, (identity(4), 300_000))
        response = await client.request("POST", "/required", body=b"b" * 300_000)
        checks.equal("a body is refused", response.status, 401)

        stream = client.start("GET", "/hangs", [("cookie", "session=slow.secret")])
        await asyncio.sleep(0.3)
        client.cancel(stream)
        await asyncio.get_running_loop().run_in_executor(None, site.wait_for_access, "/hangs 499 HTTP/3.0")
        response = await client.request("GET", "/", [cookie(5)])
        checks.equal("who leaves one stream goes on with another", of(response), identity(5))


def main():
    checks = servers.Checks()
    with servers.Servers(*sys.argv[1:4]) as site:
        sessions = site.directory / "sessions.json"
        sessions.write_text(json.dumps(SESSIONS))
        key, certificate = (str(site.directory / name) for name in ("key.pem", "certificate.pem"))
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        make += ["-keyout", key, "-out", certificate, "-subj", "/CN=site.example", "-days", "2"]
        subprocess.run(make, check=True, capture_output=True)
        app = http.server.ThreadingHTTPServer(("127.0.0.1", 0), App)
        threading.Thread(target=app.serve_forever, daemon=True).start()
        resolver, port = site.start_double(sessions), servers.free_port()
        ports = {"port": port, "resolver": resolver, "app": app.server_port, "directory": site.directory}
        site.start_nginx(CONF % ports, port)
        asyncio.run(check(port, site, checks))
        log = (site.directory / "logs/error.log").read_text()
        bad = [line for line in log.splitlines() if "[alert]" in line or "[crit]" in line or "panicked" in line]
        checks.equal("nothing bad in the log", bad, [])
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
