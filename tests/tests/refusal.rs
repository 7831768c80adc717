//! A refusal, as each kind of client sees it.

use std::time::Duration;

use authgear_integration::{
    get, people, post, request, Request, Response, Site, ALICE, ALICE_BEARER, BOB, GONE,
};
use authgear_resolver_double::{Fault, Session, Store, User};
use serde_json::Value;

const CHROME: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,\
                      image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";

const LOGIN: &str = "authgear_login \"https://auth.example/oauth2/authorize?response_type=none\
                     &client_id=app&redirect_uri=$authgear_return_url\";";

#[derive(Clone, Copy, PartialEq)]
enum Protocol {
    Http10,
    Http11,
    Http2,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Format {
    Page,
    Problem,
    Grpc,
}

/// A kind of client, and what it is taken for.
#[derive(Clone, Copy)]
struct Client {
    name: &'static str,
    protocols: &'static [Protocol],
    method: &'static str,
    headers: &'static [(&'static str, &'static str)],
    /// Its credential is a bearer token, not a cookie.
    bearer: bool,
    /// It can follow a redirect to a login page.
    navigates: bool,
    format: Format,
}

const ALL: &[Protocol] = &[Protocol::Http10, Protocol::Http11, Protocol::Http2];
const NOT_OLD: &[Protocol] = &[Protocol::Http11, Protocol::Http2];

const CURL: Client = Client {
    name: "curl",
    protocols: ALL,
    method: "GET",
    headers: &[("User-Agent", "curl/8.0"), ("Accept", "*/*")],
    bearer: false,
    navigates: false,
    format: Format::Page,
};

const CLIENTS: &[Client] = &[
    CURL,
    Client {
        name: "no Accept at all",
        headers: &[],
        ..CURL
    },
    Client {
        name: "a page visit",
        headers: &[
            ("Sec-Fetch-Site", "none"),
            ("Sec-Fetch-Mode", "navigate"),
            ("Sec-Fetch-User", "?1"),
            ("Sec-Fetch-Dest", "document"),
            ("Accept", CHROME),
        ],
        navigates: true,
        ..CURL
    },
    Client {
        name: "a page visit of an old browser",
        headers: &[("Accept", CHROME)],
        navigates: true,
        ..CURL
    },
    Client {
        name: "HEAD for a page",
        method: "HEAD",
        headers: &[("Accept", CHROME)],
        navigates: true,
        ..CURL
    },
    Client {
        name: "HEAD of curl",
        method: "HEAD",
        ..CURL
    },
    Client {
        name: "HEAD for JSON",
        method: "HEAD",
        headers: &[("Accept", "application/json")],
        format: Format::Problem,
        ..CURL
    },
    Client {
        name: "a form sent by a browser",
        method: "POST",
        headers: &[("Sec-Fetch-Mode", "navigate"), ("Accept", CHROME)],
        ..CURL
    },
    Client {
        name: "fetch()",
        headers: &[
            ("Sec-Fetch-Site", "same-origin"),
            ("Sec-Fetch-Mode", "cors"),
            ("Sec-Fetch-Dest", "empty"),
            ("Accept", "*/*"),
        ],
        ..CURL
    },
    Client {
        name: "fetch() of a page",
        headers: &[("Sec-Fetch-Mode", "same-origin"), ("Accept", CHROME)],
        ..CURL
    },
    Client {
        name: "fetch() of JSON",
        headers: &[
            ("Sec-Fetch-Mode", "cors"),
            ("Accept", "application/json, text/plain, */*"),
        ],
        format: Format::Problem,
        ..CURL
    },
    Client {
        name: "an image",
        headers: &[
            ("Sec-Fetch-Mode", "no-cors"),
            ("Sec-Fetch-Dest", "image"),
            ("Accept", "image/avif,image/webp,*/*;q=0.8"),
        ],
        ..CURL
    },
    Client {
        name: "XMLHttpRequest",
        headers: &[
            ("X-Requested-With", "XMLHttpRequest"),
            ("Accept", "text/html, */*; q=0.01"),
        ],
        ..CURL
    },
    Client {
        name: "XMLHttpRequest of JSON",
        headers: &[
            ("X-Requested-With", "XMLHttpRequest"),
            ("Accept", "application/json"),
            ("Accept", "text/javascript, */*; q=0.01"),
        ],
        format: Format::Problem,
        ..CURL
    },
    Client {
        name: "an API client",
        headers: &[("Accept", "application/problem+json, application/json")],
        bearer: true,
        format: Format::Problem,
        ..CURL
    },
    Client {
        name: "an API client without Accept",
        headers: &[],
        bearer: true,
        ..CURL
    },
    Client {
        name: "a websocket",
        protocols: &[Protocol::Http11],
        headers: &[
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-Fetch-Mode", "websocket"),
        ],
        ..CURL
    },
    Client {
        name: "a websocket of an old browser",
        protocols: &[Protocol::Http11],
        headers: &[
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Accept", CHROME),
        ],
        ..CURL
    },
    Client {
        name: "gRPC",
        protocols: NOT_OLD,
        method: "POST",
        headers: &[("Content-Type", "application/grpc"), ("TE", "trailers")],
        format: Format::Grpc,
        ..CURL
    },
    Client {
        name: "gRPC with a token",
        protocols: NOT_OLD,
        method: "POST",
        headers: &[
            ("Content-Type", "application/grpc+proto"),
            ("TE", "trailers"),
        ],
        bearer: true,
        format: Format::Grpc,
        ..CURL
    },
];

/// What is to become of a request, whatever client makes it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Pass,
    NoSession,
    Forbidden(&'static str),
    /// Reason, and `max_age` of the challenge.
    StepUp(&'static str, Option<u32>),
}
use Verdict::{Forbidden, NoSession, Pass, StepUp};

const REQUIREMENTS: [&str; 6] = [
    "session",
    "user",
    "role=admin",
    "amr=mfa",
    "max_age=1h",
    "amr=mfa max_age=5m",
];

/// A session by its credential, whether another sign-in can mend it, and a verdict for each
/// requirement.
const SESSIONS: [(&str, bool, [Verdict; 6]); 5] = [
    ("", false, [NoSession; 6]),
    ("gone.secret", false, [NoSession; 6]),
    ("fresh.secret", true, [Pass; 6]),
    (
        "alice.secret",
        true,
        [
            Pass,
            Pass,
            Forbidden("role"),
            StepUp("amr", None),
            StepUp("max_age", Some(3_600)),
            StepUp("amr", Some(300)),
        ],
    ),
    (
        "bob.secret",
        false,
        [
            Pass,
            Forbidden("user"),
            Forbidden("role"),
            StepUp("amr", None),
            StepUp("max_age", Some(3_600)),
            StepUp("amr", Some(300)),
        ],
    ),
];

fn store() -> Store {
    let fresh = |session: Session| {
        session
            .amr(["mfa"])
            .authenticated_ago(Duration::from_secs(9))
    };
    people()
        .user(User::new("fresh").roles(["admin"]))
        .session(fresh(Session::cookie("fresh.secret", "fresh")))
        .session(fresh(Session::bearer("fresh.secret", "fresh")))
        .session(
            Session::bearer("alice.secret", "alice")
                .amr(["pwd", "otp"])
                .authenticated_at(1_750_000_000),
        )
        .session(Session::bearer("bob.secret", "bob"))
}

impl Client {
    fn request(&self, path: &str, credential: &str) -> Request {
        let request = request(self.method, path).headers(self.headers.iter().copied());
        match (credential, self.bearer) {
            ("", _) => request,
            (token, true) => request.bearer(token),
            (value, false) => request.cookie(&format!("session={value}")),
        }
    }

    fn send(&self, site: &Site, protocol: Protocol, request: Request) -> Response {
        match protocol {
            Protocol::Http10 => {
                let head = String::from_utf8(request.head()).expect("text");
                let mut client = site.nginx.http1();
                client.send(head.replace(" HTTP/1.1\r\n", " HTTP/1.0\r\n"));
                let response = client.read_response_to(self.method).expect("response");
                assert!(client.is_closed(), "{}: HTTP/1.0 stays open", self.name);
                response
            }
            Protocol::Http11 => {
                let mut client = site.nginx.http1();
                let response = client.request(request);
                // The next response begins where this one ends.
                assert_eq!(client.request(get("/alive")).status, 204, "{}", self.name);
                response
            }
            Protocol::Http2 => site.nginx.http2().request(request),
        }
    }

    /// Checks status, challenge, body and headers of a denial that is no redirect.
    fn check_denial(&self, what: &str, response: &Response, denial: &Denial) {
        assert_eq!(response.all("X-Reason"), [denial.reason], "{what}");
        assert_eq!(response.all("Cache-Control"), ["no-store"], "{what}");
        assert_eq!(response.header("Location"), None, "{what}");
        let challenges = response.all("WWW-Authenticate");
        let challenge = denial.challenge.as_deref();
        assert_eq!(challenges, Vec::from_iter(challenge), "{what}");
        let content_type = response.header("Content-Type").unwrap_or_default();
        let length = response.header("Content-Length").unwrap_or_default();

        match self.format {
            Format::Page => {
                assert_eq!(response.status, denial.status, "{what}");
                assert_eq!(content_type, "text/html", "{what}");
                let title = format!("<title>{} ", denial.status);
                let is_page = response.text().contains(&title);
                assert_eq!(is_page, self.method != "HEAD", "{what}");
                assert_ne!(length, "0", "{what}");
            }
            Format::Problem => {
                assert_eq!(response.status, denial.status, "{what}");
                assert_eq!(content_type, "application/problem+json", "{what}");
                assert_ne!(length, "0", "{what}");
                if self.method == "HEAD" {
                    assert_eq!(response.text(), "", "{what}");
                } else {
                    check_problem(what, response, denial);
                }
            }
            Format::Grpc => {
                assert_eq!(response.status, 200, "{what}");
                let asked = self
                    .headers
                    .iter()
                    .find(|(name, _)| *name == "Content-Type");
                assert_eq!(Some(content_type), asked.map(|(_, v)| *v), "{what}");
                let code = match denial.status {
                    401 => "16",
                    403 => "7",
                    _ => "14",
                };
                assert_eq!(response.all("grpc-status"), [code], "{what}");
                let message = response.header("grpc-message").unwrap_or_default();
                assert!(message.ends_with('.'), "{what}: {message}");
                assert_eq!(response.text(), "", "{what}");
            }
        }
    }
}

struct Denial {
    status: u16,
    reason: &'static str,
    challenge: Option<String>,
}

impl Denial {
    fn of(verdict: Verdict, with_token: bool) -> Option<Denial> {
        let bearer = |parameters: String| Some(format!("Bearer{parameters}"));
        let (status, reason, challenge) = match verdict {
            Pass => return None,
            NoSession if with_token => (401, "session", bearer(" error=\"invalid_token\"".into())),
            NoSession => (401, "session", bearer(String::new())),
            Forbidden(reason) => (403, reason, None),
            StepUp(reason, max_age) => {
                let max_age = max_age.map_or(String::new(), |t| format!(", max_age=\"{t}\""));
                let error = " error=\"insufficient_user_authentication\"";
                (401, reason, bearer(format!("{error}{max_age}")))
            }
        };
        Some(Denial {
            status,
            reason,
            challenge,
        })
    }
}

fn check_problem(what: &str, response: &Response, denial: &Denial) {
    let problem: Value = serde_json::from_slice(&response.body).expect(what);
    let title = match denial.status {
        401 => "Unauthorized",
        403 => "Forbidden",
        _ => "Service Unavailable",
    };
    assert_eq!(problem["type"], "about:blank", "{what}");
    assert_eq!(problem["title"], title, "{what}");
    assert_eq!(problem["status"], denial.status, "{what}");
    assert_eq!(problem["reason"], denial.reason, "{what}");
    assert!(problem["detail"].is_string(), "{what}");
}

/// A location for each requirement, `/0` and so on.
fn site() -> Site {
    let locations: String = (0..)
        .zip(REQUIREMENTS)
        .map(|(n, requirement)| {
            format!(
                "location /{n} {{ authgear_require {requirement}; proxy_pass http://%app%; }}\n"
            )
        })
        .collect();
    Site::builder()
        .store(store())
        .server(&format!(
            "authgear_resolve http://%resolver%;
             {LOGIN}
             add_header X-Reason $authgear_deny_reason always;
             location /alive {{ return 204; }}
             {locations}"
        ))
        .start()
}

#[test]
fn every_client_with_every_session_and_requirement() {
    let site = site();
    for client in CLIENTS {
        for (credential, renewable, verdicts) in SESSIONS {
            for (n, verdict) in verdicts.into_iter().enumerate() {
                for protocol in client.protocols {
                    let request = client.request(&format!("/{n}?x=1&y=2"), credential);
                    let response = client.send(&site, *protocol, request);
                    let requirement = REQUIREMENTS[n];
                    let what = format!("{}, {credential:?}, {requirement}", client.name);

                    let token = client.bearer && !credential.is_empty();
                    let cleared = credential == "gone.secret" && !token;
                    assert_eq!(
                        response.all("Set-Cookie").len(),
                        usize::from(cleared),
                        "{what}"
                    );
                    let Some(denial) = Denial::of(verdict, token) else {
                        assert_eq!(response.status, 200, "{what}");
                        assert_eq!(response.header("X-Reason"), None, "{what}");
                        assert_eq!(response.header("Cache-Control"), None, "{what}");
                        continue;
                    };
                    let mendable =
                        verdict == NoSession || renewable && matches!(verdict, StepUp(..));
                    if client.navigates && mendable {
                        assert_eq!(response.status, 302, "{what}");
                        let location = format!(
                            "https://auth.example/oauth2/authorize?response_type=none&client_id=app\
                             &redirect_uri=http%3A%2F%2Fsite.example%2F{n}%3Fx%3D1%26y%3D2"
                        );
                        assert_eq!(response.all("Location"), [location], "{what}");
                        assert_eq!(response.all("X-Reason"), [denial.reason], "{what}");
                        assert_eq!(response.all("Cache-Control"), ["no-store"], "{what}");
                        assert_eq!(response.header("WWW-Authenticate"), None, "{what}");
                    } else {
                        client.check_denial(&what, &response, &denial);
                    }
                }
            }
        }
    }
}

#[test]
fn every_client_when_the_resolver_fails() {
    let site = site();
    site.resolver.set_fault(Fault::status(500));
    let denial = Denial {
        status: 503,
        reason: "error",
        challenge: None,
    };
    for client in CLIENTS {
        for protocol in client.protocols {
            let request = client.request("/0", "alice.secret");
            let response = client.send(&site, *protocol, request);
            client.check_denial(client.name, &response, &denial);
        }
    }
}

#[test]
fn without_a_login_page_a_visit_gets_a_status() {
    let site = Site::serving(
        "authgear_resolve http://%resolver%; authgear_require session max_age=1h; proxy_pass http://%app%;
         add_header X-Reason $authgear_deny_reason always;",
    );
    for client in CLIENTS.iter().filter(|client| client.navigates) {
        for (credential, verdict) in [
            ("", NoSession),
            ("alice.secret", StepUp("max_age", Some(3_600))),
        ] {
            let request = client.request("/", credential);
            let response = site.send(request);
            let denial = Denial::of(verdict, false).expect("a denial");
            client.check_denial(client.name, &response, &denial);
        }
    }
}

/// A page visit that carries a token is an API client's.
#[test]
fn who_sends_a_token_is_not_sent_to_a_login_page() {
    let site = site();
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let response = site.send(
            get("/0")
                .header("Accept", CHROME)
                .header("Authorization", &format!("{scheme} wrong")),
        );
        assert_eq!(response.status, 401, "{scheme}");
        let challenges = response.all("WWW-Authenticate");
        assert_eq!(challenges, ["Bearer error=\"invalid_token\""], "{scheme}");
    }
    // Another scheme is none of Authgear's tokens.
    let basic = || get("/0").header("Authorization", "Basic eDp5");
    assert_eq!(site.send(basic().header("Accept", CHROME)).status, 302);
    assert_eq!(site.send(basic()).all("WWW-Authenticate"), ["Bearer"]);
}

/// RFC 6750 and 9470, to the letter.
#[test]
fn challenges() {
    let site = site();
    for (path, request, expected) in [
        ("/0", get("/0"), "Bearer"),
        ("/0", get("/0").cookie(GONE), "Bearer"),
        (
            "/0",
            get("/0").bearer("x"),
            "Bearer error=\"invalid_token\"",
        ),
        (
            "/3",
            get("/3").bearer(ALICE_BEARER),
            "Bearer error=\"insufficient_user_authentication\"",
        ),
        (
            "/4",
            get("/4").bearer(ALICE_BEARER),
            "Bearer error=\"insufficient_user_authentication\", max_age=\"3600\"",
        ),
        (
            "/5",
            get("/5").cookie(BOB),
            "Bearer error=\"insufficient_user_authentication\", max_age=\"300\"",
        ),
    ] {
        for response in [
            site.send(request.clone()),
            site.nginx.http2().request(request.clone()),
        ] {
            assert_eq!(response.all("WWW-Authenticate"), [expected], "{path}");
        }
    }
    assert_eq!(
        site.send(get("/2").cookie(ALICE))
            .header("WWW-Authenticate"),
        None
    );
}

#[test]
fn the_resolvers_set_cookie_reaches_those_it_denies() {
    let site = Site::builder()
        .store(
            people().session(
                Session::cookie("two.secret", "bob")
                    .set_cookie("a=1; Path=/")
                    .set_cookie("b=2; Path=/; HttpOnly"),
            ),
        )
        .server(&format!(
            "authgear_resolve http://%resolver%; authgear_require role=admin; {LOGIN}
             location /alive {{ return 204; }}
             location / {{ proxy_pass http://%app%; }}
             location /withheld {{ authgear_pass_set_cookie off; proxy_pass http://%app%; }}"
        ))
        .start();
    for client in CLIENTS.iter().filter(|client| !client.bearer) {
        for protocol in client.protocols {
            let response = client.send(&site, *protocol, client.request("/x", "two.secret"));
            let cookies = response.all("Set-Cookie");
            assert_eq!(
                cookies,
                ["a=1; Path=/", "b=2; Path=/; HttpOnly"],
                "{}",
                client.name
            );
            let response = client.send(&site, *protocol, client.request("/withheld", "two.secret"));
            assert_eq!(response.header("Set-Cookie"), None, "{}", client.name);
        }
    }
}

#[test]
fn the_access_log_has_the_reason() {
    let site = Site::builder()
        .nginx(|nginx| {
            nginx.log_format(
                "$request_uri $status $authgear_deny_reason $authgear_outcome $authgear_user_id",
            )
        })
        .server(&format!(
            "authgear_resolve http://%resolver%; {LOGIN}
             location / {{ authgear_require user role=admin; proxy_pass http://%app%; }}
             location /fresh {{ authgear_require max_age=1h; proxy_pass http://%app%; }}
             location /open {{ proxy_pass http://%app%; }}"
        ))
        .start();
    let json = |request: Request| request.header("Accept", "application/json");
    let grpc = |path: &str| post(path, "").header("Content-Type", "application/grpc");
    for (request, line) in [
        (get("/a"), "/a 401 session none -"),
        (get("/b").cookie(GONE), "/b 401 session invalid -"),
        (get("/c").header("Accept", CHROME), "/c 302 session none -"),
        (json(get("/d")), "/d 401 session none -"),
        (grpc("/e"), "/e 200 session none -"),
        (get("/f").cookie(BOB), "/f 403 user valid bob"),
        (json(get("/g")).cookie(ALICE), "/g 403 role valid alice"),
        (grpc("/h").cookie(ALICE), "/h 200 role valid alice"),
        (
            get("/fresh").cookie(ALICE),
            "/fresh 401 max_age valid alice",
        ),
        (get("/open").cookie(ALICE), "/open 200 - valid alice"),
    ] {
        site.send(request);
        site.nginx.wait_for_access(line);
    }
    site.resolver.set_fault(Fault::status(500));
    site.send(get("/i").cookie(ALICE));
    site.nginx.wait_for_access("/i 503 error error -");
    site.nginx
        .wait_for_log("authgear: denied with 503, reason: error");
    site.nginx
        .wait_for_log("authgear: denied with 401, reason: session");
}

#[test]
fn subrequests_of_a_page_are_not_judged_again() {
    let site = Site::builder()
        .nginx(|nginx| nginx.file("html/page.html", "<!--# include virtual=\"/part\" -->"))
        .server(
            "authgear_resolve http://%resolver%;
             location / { authgear_require session; ssi on; }
             location /part { authgear_require role=admin; return 200 $authgear_user_id; }",
        )
        .start();
    assert_eq!(site.send(get("/page.html").cookie(ALICE)).text(), "alice");
    assert_eq!(site.send(get("/page.html")).status, 401);
    assert_eq!(site.resolver.request_count(), 1);
}
