#!/usr/bin/env python3
"""Signs in with a real browser through nginx-conf/login.conf, against the resolver double's login page.

    tests/browser/login.py NGINX MODULE DOUBLE

Needs Chromium (Debian: chromium); without it, nothing is tested, and a line says so.
"""

import http.server
import json
import pathlib
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
import chromium
import servers

SESSIONS = {
    "users": {
        "alice": {"verified": True, "roles": ["reader"]},
        "bob": {"can_reauthenticate": False},
    },
    "sessions": [
        {"kind": "session", "value": f"{user}-{domain}.old", "user": user, "amr": ["pwd"], "authenticated_at": "-1h"}
        for user in ("alice", "bob")
        for domain in ("localhost", "example")
    ],
}


class App(http.server.BaseHTTPRequestHandler):
    """Shows the request; allows other origins to call it."""

    protocol_version = "HTTP/1.1"
    requests = []

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        App.requests.append((self.command, self.path))
        seen = {"target": self.path, "user": self.headers.get("x-authgear-user-id")}
        text = json.dumps(seen).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Access-Control-Allow-Origin", self.headers.get("Origin", "*"))
        self.send_header("Access-Control-Allow-Methods", "PUT")
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_OPTIONS = answer

    def log_message(self, *_):
        pass


def login_conf(port, resolver, app):
    conf = (servers.ROOT / "nginx-conf/login.conf").read_text()
    for old, new in ("8080", port), ("3000", resolver), ("3001", resolver), ("8000", app):
        assert f"127.0.0.1:{old}" in conf, old
        conf = conf.replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}")
    return conf


FETCH = """
    fetch(%s).then(async r => ({
        status: r.status, redirected: r.redirected, type: r.type, challenge: r.headers.get("WWW-Authenticate"),
        stored: r.headers.get("Cache-Control"), form: r.headers.get("Content-Type"), body: await r.text(),
    }))
"""

XHR = """
    new Promise(done => {
        const x = new XMLHttpRequest();
        x.open("GET", "/app/api");
        x.onloadend = () => done([x.status, x.responseURL]);
        x.send();
    })
"""

WEBSOCKET = """
    new Promise(done => {
        const socket = new WebSocket(location.origin.replace("http", "ws") + "/app/socket");
        socket.onopen = () => done("open");
        socket.onerror = () => done("error");
    })
"""

ELSEWHERE = """
    fetch(%s + "/app/api", {method: "PUT", body: "{}"}).then(r => r.status, e => e.name)
"""


def check(browser, domain, port, tells_mode, all_servers, checks):
    """All of it on one origin; whether the browser tells this origin what its requests are for (Sec-Fetch-Mode)."""
    site, other = (f"http://{name}.{domain}:{port}" for name in ("site", "other"))

    def where():
        return browser.evaluate("location.href")

    def shown():
        return json.loads(browser.evaluate("document.body.innerText"))

    def path():
        return browser.evaluate("location.pathname")

    def fetch(arguments):
        return browser.evaluate(FETCH % arguments)

    # To the login page and back.
    report = f"{site}/app/report?x=1&y=2"
    browser.visit(report)
    checks.equal("a visit without a session ends on the login page", path(), "/oauth2/authorize")
    checks.equal("which is told where to send the browser back to",
                 browser.evaluate("new URLSearchParams(location.search).get('redirect_uri')"), report)
    browser.act("document.querySelector('button[value=alice]').click()")
    checks.equal("after signing in it is on exactly the page it asked for", where(), report)
    checks.equal("which the app has served to alice", shown(), {"target": "/app/report?x=1&y=2", "user": "alice"})
    browser.visit(f"{site}/app/?q=%26%20%C3%A9+")
    checks.equal("the next visit goes straight there", shown(), {"target": "/app/?q=%26%20%C3%A9+", "user": "alice"})
    answer = fetch("'/app/api'")
    checks.equal("so does a fetch()", [answer["status"], json.loads(answer["body"])["user"]], [200, "alice"])
    browser.visit(f"{site}/app/account")
    checks.equal("and a page that wants a recent sign-in", shown()["user"], "alice")

    # A sign-in that is too old.
    browser.page("Network.setCookie", url=site, name="session", value=f"alice-{domain}.old")
    browser.visit(f"{site}/app/account?old=1")
    checks.equal("an hour later that page leads to the login page", path(), "/oauth2/authorize")
    browser.act("document.querySelector('button[value=alice]').click()")
    checks.equal("and back, once", where(), f"{site}/app/account?old=1")
    browser.page("Network.setCookie", url=site, name="session", value=f"bob-{domain}.old")
    browser.visit(f"{site}/app/account")
    checks.equal("who can't reauthenticate stays there", where(), f"{site}/app/account")
    checks.equal("with nginx's page", browser.evaluate("document.title"), "401 Authorization Required")

    # Signed out: what is no visit is told so.
    browser.visit(f"{site}/logout")
    all_servers.wait_for_access('"GET /logout HTTP/1.1" 200')
    before = len(App.requests)
    told = {"status": 401, "redirected": False, "type": "basic", "challenge": "Bearer", "stored": "no-store"}
    for name, arguments in [
        ("fetch()", "'/app/api'"),
        ("fetch() that follows no redirect", "'/app/api', {redirect: 'manual'}"),
        ("fetch() with a body", "'/app/api', {method: 'POST', body: 'x'.repeat(300000)}"),
        ("fetch() without cookies", "'/app/api', {credentials: 'omit'}"),
    ]:
        answer = fetch(arguments)
        checks.equal(f"{name} gets 401 and no redirect", {key: answer[key] for key in told}, told)
    answer = fetch("'/app/api', {headers: {Accept: 'text/html'}}")
    if tells_mode:
        checks.equal("fetch() of HTML gets the same", {key: answer[key] for key in told}, told)
    else:
        checks.equal("fetch() of HTML can't be told from a visit", [answer["status"], answer["redirected"]], [200, True])
    answer = fetch("'/app/api', {headers: {Accept: 'application/json'}}")
    checks.equal("fetch() of JSON gets a problem", answer["form"], "application/problem+json")
    checks.equal("with a reason", json.loads(answer["body"])["reason"], "session")
    answer = fetch("'/app/api', {headers: {Authorization: 'Bearer wrong'}}")
    checks.equal("a token is called invalid", answer["challenge"], 'Bearer error="invalid_token"')
    checks.equal("XMLHttpRequest gets 401", browser.evaluate(XHR), [401, f"{site}/app/api"])
    checks.equal("a websocket does not open", browser.evaluate(WEBSOCKET), "error")
    all_servers.wait_for_access('"GET /app/socket HTTP/1.1" 401 session')
    checks.equal("none of them reaches the app", App.requests[before:], [])

    # Links and forms.
    browser.act("document.body.innerHTML = '<a href=/app/linked?a=b>x</a>'; document.querySelector('a').click()")
    checks.equal("a link leads to the login page", path(), "/oauth2/authorize")
    browser.act("document.body.innerHTML = '<form method=post action=/app/form></form>'; document.forms[0].submit()")
    checks.equal("a form that is sent without a session", where(), f"{site}/app/form")
    checks.equal("gets 401, for a redirect would lose it", browser.evaluate("document.title"),
                 "401 Authorization Required")

    # From another origin.
    browser.visit(f"{other}/healthz")
    before = len(App.requests)
    checks.equal("another origin can't read the refusal", browser.evaluate(ELSEWHERE % json.dumps(site)), "TypeError")
    all_servers.wait_for_access('"PUT /app/api HTTP/1.1" 401 session')
    checks.equal("though the app was asked whether it may try", App.requests[before:], [("OPTIONS", "/app/api")])


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    path = chromium.find()
    if not path:
        print("browser: SKIPPED, no Chromium here (apt-get install chromium)")
        return 0
    checks = servers.Checks()
    with servers.Servers(*sys.argv[1:]) as all_servers:
        app = http.server.ThreadingHTTPServer(("127.0.0.1", 0), App)
        threading.Thread(target=app.serve_forever, daemon=True).start()
        sessions = all_servers.directory / "sessions.json"
        sessions.write_text(json.dumps(SESSIONS))
        resolver = all_servers.start_double(sessions)
        port = servers.free_port()
        all_servers.start_nginx(login_conf(port, resolver, app.server_port), port)
        # Chromium takes localhost for as good as https, and sends Sec-Fetch-Mode only there.
        for domain, tells_mode in ("localhost", True), ("example", False):
            print(f"== site.{domain}")
            browser = chromium.Chromium(path, [f"site.{domain}", f"other.{domain}"])
            try:
                check(browser, domain, port, tells_mode, all_servers, checks)
            finally:
                browser.close()
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())
