"""What is compared: the ways to authenticate, each as an nginx.conf, and the requests that visitors send."""

import hashlib
from dataclasses import dataclass, field

# The session that every visitor has, as the resolver tells it. All nine identity headers are there.
USER_ID = "0b1e2d6c-5f0a-4c57-9a27-6f5f0c1d9a01"
ROLES = ["member", "editor"]
IDENTITY = [
    ("x-authgear-session-valid", "true"),
    ("x-authgear-user-id", USER_ID),
    ("x-authgear-user-anonymous", "false"),
    ("x-authgear-user-verified", "true"),
    ("x-authgear-session-acr", "http://schemas.openid.net/pape/policies/2007/06/multi-factor"),
    ("x-authgear-session-amr", "pwd otp mfa"),
    ("x-authgear-session-authenticated-at", "1735689600"),
    ("x-authgear-user-can-reauthenticate", "true"),
    ("x-authgear-user-roles", ",".join(ROLES)),
]
# Authgear's guide copies these; it does not know of roles.
DOCUMENTED = [name for name, _ in IDENTITY if name != "x-authgear-user-roles"]


@dataclass(frozen=True)
class Variant:
    name: str
    title: str
    # Cookies of so many sessions in turn: "no", "one" or "many".
    sessions: str = "one"
    http: str = ""
    location: str = ""
    server: str = ""
    module: bool = False
    # The location sets proxy_set_header lines of its own.
    headers: list = field(default_factory=list)


KEEPALIVE = 'proxy_http_version 1.1;\nproxy_set_header Connection "";'
RESOLVER_GROUP = """
upstream resolver {
    server 127.0.0.1:{resolver};
    keepalive 64;
    keepalive_requests 1000000000;
}
"""
# The parts of the request that the answer depends on. Written by hand, as the guide has no cache.
CACHE_KEY = "$host|$http_authorization|$cookie_app_session|$cookie_app_access_token|$cookie_session"
PROXY_CACHE = """
proxy_cache auth;
proxy_cache_key "%s";
proxy_cache_valid 200 1h;
""" % CACHE_KEY


def indent(text, by=4):
    return "".join(" " * by + line + "\n" if line else "" for line in text.strip("\n").split("\n"))


def auth_request(target, more=""):
    """The location /_auth of Authgear's guide."""
    return """
location = /_auth {
    internal;
    proxy_pass http://%s/_resolver/resolve;
    proxy_pass_request_body off;
    proxy_set_header Content-Length "";
%s}
""" % (target, indent(more))


def copied():
    """The lines of the guide that copy the identity from the resolver's answer to the request."""
    variable = lambda name: name.replace("-", "_")
    lines = ["auth_request /_auth;"]
    lines += ["auth_request_set $%s $upstream_http_%s;" % (variable(n), variable(n)) for n in DOCUMENTED]
    return "\n".join(lines)


FORWARDED = ["proxy_set_header %s $%s;" % (name, name.replace("-", "_")) for name in DOCUMENTED]
CONSTANT = ['proxy_set_header %s "%s";' % pair for pair in IDENTITY]
PROXY_CACHE_ZONE = "proxy_cache_path {prefix}/cache levels=1:2 keys_zone=auth:{zone} inactive=1d;"
OUR_ZONE = "authgear_cache_zone zone=auth:{zone};"
RESOLVE = "authgear_resolve http://127.0.0.1:{resolver}/_resolver/resolve;"
OUR_CACHE = RESOLVE + "\nauthgear_cache auth;\nauthgear_cache_valid 1h;"
REQUIRE = "authgear_require user verified role=member;"


def stock(name, title, http, server, sessions="one"):
    return Variant(name, title, sessions, http=http, server=server, location=copied(), headers=FORWARDED)


def ours(name, title, location, sessions="one", cached=True):
    return Variant(name, title, sessions, http=OUR_ZONE if cached else "", location=location, module=True)


CACHED = RESOLVER_GROUP + PROXY_CACHE_ZONE
VARIANTS = [
    Variant("A", "plain proxy, nobody is authenticated"),
    Variant("A8", "plain proxy, nine constant headers", headers=CONSTANT),
    stock("B", "auth_request, as documented", "", auth_request("127.0.0.1:{resolver}")),
    stock("C", "auth_request, keepalive to the resolver", RESOLVER_GROUP, auth_request("resolver", KEEPALIVE)),
    stock("D", "auth_request, proxy_cache, one session", CACHED, auth_request("resolver", KEEPALIVE + PROXY_CACHE)),
    stock("E", "auth_request, proxy_cache, many sessions", CACHED, auth_request("resolver", KEEPALIVE + PROXY_CACHE), "many"),
    ours("H", "authgear_resolve, no cache", RESOLVE, cached=False),
    ours("HC", "authgear_cache, one session", OUR_CACHE),
    ours("HE", "authgear_cache, many sessions", OUR_CACHE, "many"),
    ours("HN", "authgear_cache, no credentials", OUR_CACHE, "no"),
    ours("HR", "authgear_cache and authgear_require", OUR_CACHE + "\n" + REQUIRE),
]
BY_NAME = {variant.name: variant for variant in VARIANTS}

# One new session, asked for by many at once.
HERD = [
    stock(
        "proxy_cache_lock",
        "auth_request, proxy_cache_lock",
        CACHED,
        auth_request("resolver", KEEPALIVE + PROXY_CACHE + "proxy_cache_lock on;\n"),
    ),
    ours("authgear_cache_lock", "authgear_cache, authgear_cache_lock", OUR_CACHE),
]


def conf(variant, *, port, app, resolver, prefix, module, workers=1, master=True, zone="10m", user="", more=""):
    """The nginx.conf of a variant; `more` goes into its server."""
    values = {"resolver": resolver, "prefix": prefix, "zone": zone}

    def fill(text):
        for name, value in values.items():
            text = text.replace("{%s}" % name, str(value))
        return text

    return """\
{load}{user}daemon off;
master_process {master};
worker_processes {workers};
error_log logs/error.log;
pid logs/nginx.pid;

events {{
    worker_connections 16384;
}}

http {{
    access_log off;
    keepalive_requests 1000000000;

    upstream app {{
        server 127.0.0.1:{app};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
{http}
    server {{
        listen 127.0.0.1:{port} backlog=4096;

        location /plain {{
            proxy_pass http://app;
{location}        }}
{server}    }}
}}
""".format(
        load="load_module %s;\n" % module if variant.module else "",
        user="user %s;\n" % user if user else "",
        master="on" if master else "off",
        workers=workers,
        app=app,
        port=port,
        http=fill(indent(variant.http, 4)) if variant.http else "",
        location=fill(indent("\n".join([KEEPALIVE] + variant.headers + [variant.location]), 12)),
        server=fill(indent(variant.server + more, 8)) if variant.server + more else "",
    )


def token(number):
    """The value of the cookie `session` of a session, as long as Authgear's."""
    digest = hashlib.sha256(b"session %d" % number).hexdigest()
    uuid = "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:32]))
    return uuid + "." + digest[32:]


BROWSER = [
    ("Host", "app.example"),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Accept-Language", "en-US,en;q=0.5"),
    ("Accept-Encoding", "gzip, deflate"),
    ("Referer", "https://app.example/"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
]
COOKIES = ("theme=dark; ", "_ga=GA1.2.1234567890.1712345678")


def request_parts(headers=10):
    """A browser's request with so many headers, cut where `session=...; ` goes."""
    lines = ["GET /plain HTTP/1.1"] + ["%s: %s" % pair for pair in BROWSER]
    lines += ["X-Header-%d: %s" % (n, "value of the header") for n in range(headers - len(BROWSER) - 1)]
    before = "\r\n".join(lines) + "\r\nCookie: " + COOKIES[0]
    return before, COOKIES[1] + "\r\n\r\n"


def requests(sessions, headers=10, first=0):
    """The requests of a variant's visitors: of so many sessions, or of one without any."""
    before, after = request_parts(headers)
    if sessions == 0:
        return [(before + after).encode()]
    return [(before + "session=%s; " % token(n) + after).encode() for n in range(first, first + sessions)]
