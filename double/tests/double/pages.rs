//! Signing in and out with a browser, which is played here.

use authgear_resolver_double::{Resolver, Session, Store, User};

use crate::client::{Client, Response};

const BACK: &str = "http://127.0.0.1/app/report?x=1&y=2";
const AUTHORIZE: &str = "/oauth2/authorize?client_id=demo&response_type=none\
    &redirect_uri=http%3A%2F%2F127.0.0.1%2Fapp%2Freport%3Fx%3D1%26y%3D2";

fn start() -> Resolver {
    Resolver::start(
        Store::new()
            .user(User::new("alice"))
            .user(User::new("a\"b<"))
            .user(User::new("mallory").disabled(true))
            .session(Session::cookie("old", "alice").authenticated_at(1)),
    )
}

fn sign_in(client: &mut Client, user: &str, lines: &str) -> Response {
    let form =
        format!("user={user}&redirect_uri=http%3A%2F%2F127.0.0.1%2Fapp%2Freport%3Fx%3D1%26y%3D2");
    client.send(&format!(
        "POST /login HTTP/1.1\r\nHost: a\r\n{lines}Content-Length: {}\r\n\r\n{form}",
        form.len()
    ));
    client.response()
}

fn cookie_pair(response: &Response) -> String {
    let line = response.get("set-cookie").expect("a cookie");
    assert!(line.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{line}");
    line.split(';').next().expect("a pair").to_owned()
}

fn user(client: &mut Client, cookie: &str) -> Option<String> {
    let response = client.get("/resolve", &format!("Cookie: {cookie}\r\n"));
    response.get("x-authgear-user-id").map(str::to_owned)
}

#[test]
fn a_round_of_signing_in_and_out() {
    let resolver = start();
    let mut client = Client::new(resolver.addr());

    let page = client.get(AUTHORIZE, "");
    assert_eq!(page.status, 200);
    assert_eq!(page.get("content-type"), Some("text/html; charset=utf-8"));
    assert!(page
        .text()
        .contains("<form method=\"post\" action=\"/login\">"));
    assert!(page
        .text()
        .contains("value=\"http://127.0.0.1/app/report?x=1&amp;y=2\""));
    assert!(page.text().contains("name=\"user\" value=\"alice\""));
    assert!(page.text().contains("value=\"a&quot;b&lt;\""));
    assert!(!page.text().contains("<script"));
    assert_eq!(
        client
            .get(&AUTHORIZE.replace("/oauth2/authorize", "/login"), "")
            .status,
        200
    );

    let response = sign_in(&mut client, "alice", "");
    assert_eq!(response.status, 302);
    assert_eq!(response.get("location"), Some(BACK));
    let cookie = cookie_pair(&response);
    assert_eq!(user(&mut client, &cookie).as_deref(), Some("alice"));
    assert_ne!(cookie_pair(&sign_in(&mut client, "alice", "")), cookie);

    let again = client.get(AUTHORIZE, &format!("Cookie: {cookie}\r\n"));
    assert_eq!((again.status, again.get("location")), (302, Some(BACK)));
    assert_eq!(again.get("set-cookie"), None);

    let response = client.get("/logout", &format!("Cookie: {cookie}\r\n"));
    assert_eq!(response.status, 200);
    let line = response.get("set-cookie").expect("a cookie");
    assert!(
        line.starts_with("session=; Path=/; Expires=Thu, 01 Jan 1970"),
        "{line}"
    );
    assert_eq!(user(&mut client, &cookie), None);

    let target = AUTHORIZE.replace("/oauth2/authorize", "/logout");
    assert_eq!(client.get(&target, "").get("location"), Some(BACK));
}

#[test]
fn the_page_can_send_itself() {
    let resolver = start();
    let page = Client::new(resolver.addr()).get(&format!("{AUTHORIZE}&auto=alice"), "");
    assert!(page
        .text()
        .contains("<input type=\"hidden\" name=\"user\" value=\"alice\">"));
    assert!(page
        .text()
        .contains("<script>document.forms[0].submit()</script>"));
}

#[test]
fn signing_in_again_keeps_the_cookie() {
    let resolver = start();
    let mut client = Client::new(resolver.addr());
    let old = "Cookie: session=old\r\n";

    assert_eq!(client.get(AUTHORIZE, old).status, 302);
    assert_eq!(
        client.get(&format!("{AUTHORIZE}&prompt=login"), old).status,
        200
    );
    assert_eq!(
        client.get(&format!("{AUTHORIZE}&max_age=60"), old).status,
        200
    );

    let response = sign_in(&mut client, "alice", old);
    assert_eq!((response.status, response.get("set-cookie")), (302, None));
    let resolved = client.get("/resolve", old);
    assert_eq!(resolved.get("x-authgear-session-amr"), Some("pwd"));
    assert_ne!(
        resolved.get("x-authgear-session-authenticated-at"),
        Some("1")
    );
    assert_eq!(
        client.get(&format!("{AUTHORIZE}&max_age=60"), old).status,
        302
    );

    // Somebody else gets a cookie of their own.
    let other = sign_in(&mut client, "a%22b%3C", old);
    assert_ne!(cookie_pair(&other), "session=old");
}

#[test]
fn nonsense_is_refused() {
    let resolver = start();
    let mut client = Client::new(resolver.addr());
    for uri in [
        "",
        "javascript:alert(1)",
        "//evil.example",
        "http://a%0d%0aX:1",
        "http://a%20b",
    ] {
        let response = client.get(&format!("/login?redirect_uri={uri}"), "");
        assert_eq!(response.status, 400, "{uri}");
    }
    assert_eq!(sign_in(&mut client, "nobody", "").status, 403);
    assert_eq!(sign_in(&mut client, "mallory", "").status, 403);
    assert_eq!(
        resolver.request_count(),
        0,
        "pages are not resolver requests"
    );
}

#[test]
fn faults_leave_the_pages_alone() {
    let resolver = start();
    resolver.set_fault(authgear_resolver_double::Fault::status(500));
    let mut client = Client::new(resolver.addr());
    assert_eq!(client.get(AUTHORIZE, "").status, 200);
    assert_eq!(client.get("/resolve", "").status, 500);
}

#[test]
fn the_session_belongs_to_the_host_s_project() {
    let resolver = Resolver::start(
        Store::new()
            .project("a", Store::new().user(User::new("alice")))
            .project("b", Store::new().user(User::new("alice"))),
    );
    let mut client = Client::new(resolver.addr());
    let cookie = cookie_pair(&sign_in(&mut client, "alice", ""));
    assert_eq!(user(&mut client, &cookie).as_deref(), Some("alice"));
    client.send(&format!(
        "GET /resolve HTTP/1.1\r\nHost: b\r\nCookie: {cookie}\r\n\r\n"
    ));
    assert_eq!(
        client.response().get("x-authgear-session-valid"),
        Some("false")
    );
}
