//! The documented set-up and ours, side by side: the application sees no difference.
//!
//! Both are the files in `nginx-conf/`, with the fixed addresses replaced.

use authgear_integration::{
    get, people, post, request, Nginx, Request, Seen, ALICE, ALICE_ACCESS_TOKEN, ALICE_APP_SESSION,
    ALICE_BEARER, BOB, CAROL, GONE,
};
use authgear_resolver_double::{EchoApp, Resolver, Session};

/// The documented configuration does not copy it: with it, the application sees what the
/// client sends.
const NOT_IN_THE_GUIDE: &str = "x-authgear-user-roles";

struct Both {
    stock: Nginx,
    ours: Nginx,
    _resolver: Resolver,
    _app: EchoApp,
}

impl Both {
    fn start() -> Self {
        let with_acr = Session::cookie("acr.secret", "alice")
            .acr("urn:acr")
            .amr(["pwd"]);
        let resolver = Resolver::start(people().session(with_acr));
        let app = EchoApp::start();
        let start = |file: &str, port: u16| {
            Nginx::builder()
                .place("resolver", resolver.addr())
                .place("app", app.addr())
                .shipped(file, port)
                .replace("127.0.0.1:3001", "%resolver%")
                .replace("127.0.0.1:3000", "%app%")
                .replace("127.0.0.1:8000", "%app%")
                .start()
        };
        Self {
            stock: start("stock.conf", 8081),
            ours: start("authgear.conf", 8080),
            _resolver: resolver,
            _app: app,
        }
    }
}

/// What the application saw, in a form to compare.
fn comparable(mut seen: Seen) -> Seen {
    seen.headers = seen
        .headers
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .filter(|(name, _)| name != NOT_IN_THE_GUIDE)
        .collect();
    seen.headers.sort();
    seen
}

fn cases() -> Vec<(&'static str, Request)> {
    let page = || get("/app/page?x=1");
    vec![
        ("no credentials", page()),
        ("other cookies", page().cookie("theme=dark")),
        ("bearer", page().bearer(ALICE_BEARER)),
        (
            "bearer in lower case",
            page().header("authorization", "bearer alice-bearer"),
        ),
        ("invalid bearer", page().bearer("gone")),
        ("basic", page().header("Authorization", "Basic eDp5")),
        ("session", page().cookie(ALICE)),
        ("app session", page().cookie(ALICE_APP_SESSION)),
        ("access token", page().cookie(ALICE_ACCESS_TOKEN)),
        (
            "several cookies",
            page().cookie("a=b; app_session=gone; session=alice.secret; c=d"),
        ),
        ("several cookie lines", page().cookie("a=b").cookie(ALICE)),
        ("bearer and cookie", page().bearer("gone").cookie(ALICE)),
        (
            "bearer beats cookie",
            page().bearer(ALICE_BEARER).cookie(BOB),
        ),
        ("quoted cookie", page().cookie("session=\"alice.secret\"")),
        (
            "cookie in other case",
            page().cookie("Session=alice.secret"),
        ),
        ("invalid session", page().cookie(GONE)),
        ("disabled user", page().cookie(CAROL)),
        ("roles", page().cookie(ALICE)),
        ("empty amr, no time, no roles", page().cookie(BOB)),
        ("acr", page().cookie("session=acr.secret")),
        ("POST without a body", post("/app", "").cookie(ALICE)),
        ("POST", post("/app", "a=b").cookie(ALICE)),
        (
            "POST of 1 MB",
            post("/app", vec![b'x'; 1 << 20]).cookie(ALICE),
        ),
        (
            "POST of 1 MB without a session",
            post("/app", vec![b'x'; 1 << 20]),
        ),
        (
            "chunked",
            request("PUT", "/app")
                .chunks(vec![vec![b'x'; 5000]; 20])
                .cookie(ALICE),
        ),
        (
            "empty chunked",
            request("PUT", "/app").chunks([]).cookie(ALICE),
        ),
        ("DELETE", request("DELETE", "/app/1").cookie(ALICE)),
        (
            "OPTIONS",
            request("OPTIONS", "/app/1")
                .cookie(ALICE)
                .header("Origin", "http://x"),
        ),
        (
            "other headers",
            page()
                .cookie(ALICE)
                .header("X-Forwarded-For", "10.0.0.1")
                .header("Accept", "text/html")
                .header("X-Twice", "1")
                .header("X-Twice", "2"),
        ),
        (
            "forged headers that the guide overrides",
            page()
                .cookie(BOB)
                .header("X-Authgear-User-Id", "forged")
                .header("X-Authgear-Session-Valid", "true")
                .header("X-Authgear-Session-Amr", "forged"),
        ),
        (
            "forged without a session",
            page().header("X-Authgear-User-Id", "forged"),
        ),
        ("Authgear's own pages", get("/login").cookie(ALICE)),
    ]
}

#[test]
fn the_application_sees_no_difference() {
    let both = Both::start();
    let mut compared = 0;
    for (name, request) in cases() {
        let by = |nginx: &Nginx| {
            let over_http1 = nginx.send(request.clone()).seen();
            let over_http2 = nginx.http2().request(request.clone()).seen();
            [comparable(over_http1), comparable(over_http2)]
        };
        assert_eq!(by(&both.ours), by(&both.stock), "{name}");
        compared += 1;
    }
    assert!(compared >= 30);
}

#[test]
fn a_connection_of_a_hundred_requests_sees_no_difference() {
    let both = Both::start();
    let cases = cases();
    let (mut stock, mut ours) = (both.stock.http1(), both.ours.http1());
    let (mut stock2, mut ours2) = (both.stock.http2(), both.ours.http2());
    let small = cases
        .iter()
        .filter(|(_, request)| request.head().starts_with(b"GET"));
    for (name, request) in small.cycle().take(100) {
        let http1 = [&mut stock, &mut ours]
            .map(|client| comparable(client.request(request.clone()).seen()));
        assert_eq!(http1[0], http1[1], "{name}");
        let http2 = [&mut stock2, &mut ours2]
            .map(|client| comparable(client.request(request.clone()).seen()));
        assert_eq!(http2[0], http2[1], "{name}");
    }
}

#[test]
fn roles_arrive_although_the_guide_forgets_them() {
    let both = Both::start();
    let forged = || get("/app").cookie(ALICE).header(NOT_IN_THE_GUIDE, "admin");
    assert_eq!(
        both.ours.send(forged()).seen().get(NOT_IN_THE_GUIDE),
        Some("editor,reviewer")
    );
    assert_eq!(
        both.stock.send(forged()).seen().get(NOT_IN_THE_GUIDE),
        Some("admin")
    );
}
