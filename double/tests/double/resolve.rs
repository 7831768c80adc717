//! What the resolver makes of credentials.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use authgear_resolver_double::{jwt, Resolver, Session, Store, User};

use crate::client::{Client, Response};

const VALID: &str = "Session-Valid: true";
const INVALID: &[&str] = &["Session-Valid: false"];
const NONE: &[&str] = &[];
const CLEARING: &str =
    "session=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax";

fn resolve(resolver: &Resolver, lines: &str) -> Response {
    let response = Client::new(resolver.addr()).get("/_resolver/resolve", lines);
    assert_eq!(response.status, 200, "{lines}");
    assert_eq!(response.body, b"");
    assert_eq!(response.get("content-length"), Some("0"));
    for always in [
        "X-Content-Type-Options",
        "Permissions-Policy",
        "X-Robots-Tag",
        "Date",
    ] {
        assert_eq!(response.all(always).len(), 1, "{always}");
    }
    response
}

fn user_id(response: &Response) -> Option<&str> {
    response.get("x-authgear-user-id")
}

#[test]
fn a_valid_session_has_all_its_headers() {
    let store = Store::new()
        .user(User::new("alice").id("id-1").roles(["b", "a"]))
        .session(
            Session::cookie("s.1", "alice")
                .amr(["pwd", "otp"])
                .acr("high")
                .authenticated_at(1_700_000_000)
                .set_cookie("x=1; Path=/")
                .set_cookie("y=2"),
        );
    let resolver = Resolver::start(store);
    let response = resolve(&resolver, "Cookie: session=s.1\r\n");
    assert_eq!(
        response.identity(),
        [
            "Session-Acr: high",
            "Session-Amr: pwd otp",
            "Session-Authenticated-At: 1700000000",
            VALID,
            "User-Anonymous: false",
            "User-Can-Reauthenticate: true",
            "User-Id: id-1",
            "User-Roles: b,a",
            "User-Verified: true",
        ]
    );
    assert_eq!(response.all("set-cookie"), ["x=1; Path=/", "y=2"]);
}

#[test]
fn what_is_unknown_is_left_out_except_amr() {
    let store = Store::new()
        .user(
            User::new("bob")
                .anonymous(true)
                .verified(false)
                .can_reauthenticate(false),
        )
        .session(Session::bearer("t", "bob"));
    let resolver = Resolver::start(store);
    assert_eq!(
        resolve(&resolver, "Authorization: Bearer t\r\n").identity(),
        [
            "Session-Amr: ",
            VALID,
            "User-Anonymous: true",
            "User-Can-Reauthenticate: false",
            "User-Id: bob",
            "User-Verified: false",
        ]
    );
}

fn four_users() -> Store {
    ["bearer", "app", "token", "cookie", "gone"]
        .into_iter()
        .fold(Store::new(), |store, name| {
            let disabled = name == "gone";
            store.user(User::new(name).disabled(disabled))
        })
        .session(Session::bearer("B", "bearer"))
        .session(Session::app_session("A", "app"))
        .session(Session::app_access_token("T", "token"))
        .session(Session::cookie("C", "cookie"))
        .session(Session::cookie("E", "cookie").expired(true))
        .session(Session::cookie("D", "gone"))
        .session(Session::bearer("DB", "gone"))
        .session(Session::cookie("deleted", "nobody"))
}

#[test]
fn the_first_credential_that_works_wins() {
    let resolver = Resolver::start(four_users());
    for (lines, user) in [
        (
            "Authorization: Bearer B\r\nCookie: app_session=A; app_access_token=T; session=C\r\n",
            "bearer",
        ),
        (
            "Authorization: Bearer x\r\nCookie: app_session=A; app_access_token=T; session=C\r\n",
            "app",
        ),
        (
            "Cookie: session=C; app_access_token=T; app_session=A\r\n",
            "app",
        ),
        (
            "Cookie: app_session=x; app_access_token=T; session=C\r\n",
            "token",
        ),
        (
            "Cookie: app_session=x; app_access_token=x; session=C\r\n",
            "cookie",
        ),
        (
            "Authorization: Bearer x\r\nCookie: app_session=x; app_access_token=x; session=C\r\n",
            "cookie",
        ),
        (
            "Authorization: Bearer x\r\nAuthorization: Bearer B\r\nCookie: session=C\r\n",
            "cookie",
        ),
        ("Authorization: Basic B\r\nCookie: session=C\r\n", "cookie"),
        ("Cookie: session=C; session=x\r\n", "cookie"),
        ("Cookie: session=\"C\"\r\n", "cookie"),
        ("Cookie: Session=x\r\nCookie: session=C\r\n", "cookie"),
        // A value is only good for its own kind.
        (
            "Authorization: Bearer A\r\nCookie: app_session=B; session=C\r\n",
            "cookie",
        ),
    ] {
        assert_eq!(user_id(&resolve(&resolver, lines)), Some(user), "{lines}");
    }
}

#[test]
fn only_a_session_cookie_or_a_disabled_user_is_invalid() {
    let resolver = Resolver::start(four_users());
    for (lines, identity, cleared) in [
        ("", NONE, false),
        ("Cookie: other=1\r\n", NONE, false),
        ("Authorization: Bearer x\r\n", NONE, false),
        ("Authorization: Bearer \r\n", NONE, false),
        ("Authorization: Basic x\r\n", NONE, false),
        ("Cookie: app_session=x; app_access_token=x\r\n", NONE, false),
        ("Cookie: session=\u{e9}\r\n", NONE, false),
        ("Cookie: session=x\r\n", INVALID, true),
        ("Cookie: session=\r\n", INVALID, true),
        ("Cookie: session\r\n", INVALID, true),
        ("Cookie: session=E\r\n", INVALID, true),
        ("Cookie: session=D\r\n", INVALID, true),
        ("Cookie: session=deleted\r\n", INVALID, true),
        ("Cookie: session=x; session=C\r\n", INVALID, true),
        (
            "Authorization: Bearer x\r\nCookie: session=x\r\n",
            INVALID,
            true,
        ),
        // A session that is found decides, even when its user may not use it.
        ("Authorization: Bearer DB\r\n", INVALID, false),
        (
            "Authorization: Bearer DB\r\nCookie: session=C\r\n",
            INVALID,
            true,
        ),
    ] {
        let response = resolve(&resolver, lines);
        assert_eq!(response.identity(), identity, "{lines}");
        let expected: &[&str] = if cleared { &[CLEARING] } else { &[] };
        assert_eq!(response.all("set-cookie"), expected, "{lines}");
    }
}

#[test]
fn access_tokens_may_be_jwts() {
    let resolver = Resolver::start(four_users());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs() as i64;
    for (token, user) in [
        (jwt("B", None), Some("bearer")),
        (jwt("B", Some(now + 100)), Some("bearer")),
        (jwt("B", Some(now - 100)), None),
        (jwt("x", None), None),
    ] {
        let response = resolve(&resolver, &format!("Authorization: Bearer {token}\r\n"));
        assert_eq!(user_id(&response), user, "{token}");
    }
    let cookie = format!("Cookie: app_access_token={}\r\n", jwt("T", None));
    assert_eq!(user_id(&resolve(&resolver, &cookie)), Some("token"));
}

#[test]
fn cookie_names_carry_the_prefix() {
    let resolver = Resolver::builder()
        .store(four_users())
        .cookie_prefix("p_")
        .start()
        .expect("start");
    let unprefixed = resolve(&resolver, "Cookie: session=C; app_session=A\r\n");
    assert_eq!(unprefixed.identity(), NONE);
    let prefixed = resolve(&resolver, "Cookie: session=x; p_session=C\r\n");
    assert_eq!(user_id(&prefixed), Some("cookie"));
    let invalid = resolve(&resolver, "Cookie: p_session=x\r\n");
    assert_eq!(invalid.all("set-cookie"), [format!("p_{CLEARING}")]);
}

#[test]
fn the_host_chooses_the_project() {
    let project = |user: &str| {
        Store::new()
            .user(User::new(user))
            .session(Session::cookie("s", user))
    };
    let store = || {
        Store::new()
            .project("one.example", project("one"))
            .project("two.example:81", project("two"))
    };
    let ask = |resolver: &Resolver, lines: &str| {
        let mut client = Client::new(resolver.addr());
        client.send(&format!(
            "GET /resolve HTTP/1.1\r\nCookie: session=s\r\n{lines}\r\n"
        ));
        let response = client.response();
        match user_id(&response) {
            Some(user) => user.to_owned(),
            None => response.status.to_string(),
        }
    };
    let forwarded = "Host: one.example\r\nX-Forwarded-Host: two.example:81, one.example\r\n";
    let original = "Host: one.example\r\nX-Original-Host: two.example:81\r\n";
    let both = "Host: x\r\nX-Original-Host: two.example:81\r\nX-Forwarded-Host: one.example\r\n";

    let direct = Resolver::start(store());
    for (lines, expected) in [
        ("Host: one.example\r\n", "one"),
        ("Host: ONE.example:8080\r\n", "one"),
        ("Host: two.example:81\r\n", "two"),
        ("Host: two.example\r\n", "404"),
        ("Host: three.example\r\n", "404"),
        (forwarded, "one"),
        (original, "one"),
        (both, "404"),
    ] {
        assert_eq!(ask(&direct, lines), expected, "{lines}");
    }

    let trusting = Resolver::builder().store(store()).trust_proxy(true);
    let trusting = trusting.start().expect("start");
    for (lines, expected) in [
        ("Host: one.example\r\n", "one"),
        (forwarded, "two"),
        (original, "two"),
        (both, "one"),
    ] {
        assert_eq!(ask(&trusting, lines), expected, "{lines}");
    }
}

#[test]
fn head_is_answered_like_get() {
    let resolver = Resolver::start(four_users());
    let mut client = Client::new(resolver.addr());
    let rest = "/_resolver/resolve HTTP/1.1\r\nHost: a\r\nCookie: session=C\r\n\r\n";
    client.send(&format!("HEAD {rest}"));
    let to_head = client.head();
    client.send(&format!("GET {rest}"));
    let to_get = client.head();
    let without_date = |response: Response| {
        let headers = response.headers.into_iter();
        headers
            .filter(|(name, _)| name != "Date")
            .collect::<Vec<_>>()
    };
    assert_eq!(without_date(to_head), without_date(to_get));
}

#[test]
fn other_requests_are_refused() {
    let resolver = Resolver::start(four_users());
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /_resolver/resolve/ HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /resolve?x=1 HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (
            "POST /resolve HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
            405,
        ),
        ("GET /resolve HTTP/1.1\r\n\r\n", 400),
        ("GET /resolve HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (
            "GET /resolve HTTP/1.1\r\nHost: a\r\nBad Name: b\r\n\r\n",
            400,
        ),
        ("nonsense\r\n\r\n", 400),
    ] {
        let mut client = Client::new(resolver.addr());
        client.send(request);
        assert_eq!(client.response().status, status, "{request}");
    }
}

#[test]
fn the_store_can_change_meanwhile() {
    let resolver = Resolver::start(four_users());
    let ask = || {
        let response = resolve(&resolver, "Cookie: session=C\r\n");
        response.identity().join("; ")
    };
    assert!(ask().contains("User-Id: cookie"));

    let roles = vec!["new".to_owned()];
    assert!(resolver
        .update_store(|store| store.update_user("cookie", |user| user.roles = roles.clone())));
    assert!(ask().contains("User-Roles: new"));

    assert!(
        resolver.update_store(|store| store.update_session("C", |session| {
            session.authenticated_at = Some(7);
        }))
    );
    assert!(ask().contains("Session-Authenticated-At: 7"));

    assert!(resolver.revoke("C"));
    assert!(!resolver.revoke("C"));
    assert_eq!(ask(), INVALID[0]);

    resolver.set_store(four_users());
    assert!(ask().contains("User-Id: cookie"));
}

#[test]
fn the_example_shows_each_outcome() {
    let resolver = Resolver::start(Store::example());
    let identity = |credential: &str| resolve(&resolver, credential).identity();
    let valid = |lines: &str| identity(lines).contains(&VALID.to_owned());

    assert_eq!(identity(""), NONE);
    for lines in [
        "Cookie: session=alice.secret\r\n",
        "Cookie: session=alice-old-server.secret\r\n",
        "Cookie: session=bob.secret\r\n",
        "Cookie: session=bob-no-amr.secret\r\n",
        "Cookie: session=bob-no-time.secret\r\n",
        "Cookie: session=guest.secret\r\n",
        "Cookie: app_session=alice-app-session\r\n",
        "Cookie: app_access_token=alice-app-token\r\n",
        "Authorization: Bearer alice-token\r\n",
    ] {
        assert!(valid(lines), "{lines}");
    }
    for lines in [
        "Cookie: session=alice-expired.secret\r\n",
        "Cookie: session=mallory.secret\r\n",
        "Cookie: session=deleted.secret\r\n",
        "Authorization: Bearer mallory-token\r\n",
    ] {
        assert_eq!(identity(lines), INVALID, "{lines}");
    }
    let trouble =
        Client::new(resolver.addr()).get("/resolve", "Cookie: session=trouble.secret\r\n");
    assert_eq!(trouble.status, 500);
}

#[test]
fn delays_come_before_the_answer() {
    let store =
        four_users().session(Session::bearer("slow", "bearer").delay(Duration::from_millis(60)));
    let resolver = Resolver::start(store);
    let took = |lines: &str| {
        let start = std::time::Instant::now();
        resolve(&resolver, lines);
        start.elapsed()
    };
    assert!(took("Authorization: Bearer slow\r\n") >= Duration::from_millis(60));
    resolver.set_delay(Duration::from_millis(10));
    assert!(took("") >= Duration::from_millis(10));
    assert!(took("Authorization: Bearer slow\r\n") >= Duration::from_millis(70));
}
