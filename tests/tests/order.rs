//! Who refuses first, and who makes a call to the resolver at all.

use authgear_integration::{get, Request, Site, ALICE, ALICE_IDENTITY, BOB};

/// `user:pass`, as htpasswd writes it.
const PASSWORDS: &str = "user:{PLAIN}pass\n";
const RIGHT: &str = "Basic dXNlcjpwYXNz";
const WRONG: &str = "Basic dXNlcjp3cm9uZw==";

fn site(directives: &str) -> Site {
    Site::builder()
        .nginx(|nginx| nginx.file("passwords", PASSWORDS))
        .location(&format!(
            "authgear_resolve http://%resolver%; {directives} proxy_pass http://%app%;"
        ))
        .start()
}

fn basic(value: &str) -> Request {
    get("/").cookie(ALICE).header("Authorization", value)
}

const AUTH_BASIC: &str = "auth_basic site; auth_basic_user_file %prefix%/passwords;";

#[test]
fn deny_refuses_before_a_call_is_made() {
    let site = site("deny all;");
    assert_eq!(site.send(get("/").cookie(ALICE)).status, 403);
    assert_eq!(site.resolver.request_count(), 0);
}

#[test]
fn auth_basic_refuses_before_a_call_is_made() {
    let site = site(AUTH_BASIC);
    assert_eq!(site.send(get("/").cookie(ALICE)).status, 401);
    assert_eq!(site.send(basic(WRONG)).status, 401);
    assert_eq!(site.resolver.request_count(), 0);

    let seen = site.send(basic(RIGHT)).seen();
    assert_eq!(seen.get("x-authgear-user-id"), Some("alice"));
    assert_eq!(site.resolver.request_count(), 1);
}

#[test]
fn auth_request_refuses_before_a_call_is_made() {
    let site = Site::with_server(
        "location / { auth_request /refuse; authgear_resolve http://%resolver%; proxy_pass http://%app%; }
         location /refuse { internal; return 403; }
         location /accepted { auth_request /accept; authgear_resolve http://%resolver%; proxy_pass http://%app%; }
         location /accept { internal; return 204; }",
    );
    assert_eq!(site.send(get("/").cookie(ALICE)).status, 403);
    assert_eq!(site.resolver.request_count(), 0);
    let seen = site.app_saw(get("/accepted").cookie(ALICE));
    assert_eq!(seen.get("x-authgear-user-id"), Some("alice"));
    assert_eq!(site.resolver.request_count(), 1);
}

#[test]
fn satisfy_any_keeps_the_identity() {
    for (directives, request) in [
        (
            "satisfy any; allow all; deny all;".to_owned(),
            get("/").cookie(ALICE),
        ),
        (format!("satisfy any; deny all; {AUTH_BASIC}"), basic(RIGHT)),
        (
            format!("satisfy any; allow 127.0.0.0/8; deny all; {AUTH_BASIC}"),
            basic(WRONG),
        ),
        (
            format!("satisfy all; allow 127.0.0.0/8; deny all; {AUTH_BASIC}"),
            basic(RIGHT),
        ),
    ] {
        let site = site(&directives);
        let seen = site.app_saw(request.header("X-Authgear-User-Roles", "forged"));
        let identity = seen.identity();
        let same = identity
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .eq(ALICE_IDENTITY);
        assert!(same, "{directives}: {identity:?}");
        assert_eq!(site.resolver.request_count(), 1, "{directives}");
    }
}

#[test]
fn satisfy_any_lets_no_forged_identity_through() {
    for directives in [
        "satisfy any; allow all; deny all;".to_owned(),
        format!("satisfy any; allow all; {AUTH_BASIC}"),
    ] {
        let site = site(&directives);
        let forged = get("/").header("X-Authgear-User-Id", "forged");
        assert_eq!(site.app_saw(forged.clone()).identity(), [], "{directives}");
        let seen = site.app_saw(forged.cookie(BOB));
        assert_eq!(seen.get("x-authgear-user-id"), Some("bob"), "{directives}");
    }
}

#[test]
fn without_a_requirement_nothing_is_satisfied() {
    for directives in [
        "satisfy any; deny all;".to_owned(),
        format!("satisfy any; deny all; {AUTH_BASIC}"),
        format!("satisfy any; {AUTH_BASIC}"),
    ] {
        let site = site(&directives);
        let status = site.send(get("/").cookie(ALICE)).status;
        assert!(matches!(status, 401 | 403), "{directives}: {status}");
        assert_eq!(site.app.request_count(), 0, "{directives}");
    }
}

#[test]
fn an_answer_of_the_rewrite_phase_makes_no_call() {
    let site = Site::with_server(
        "authgear_resolve http://%resolver%;
         location /return { return 200 hello; }
         location /redirect { return 302 /elsewhere; }
         location /rewrite { rewrite ^ /elsewhere permanent; }
         location /if { if ($arg_a) { return 204; } proxy_pass http://%app%; }
         location /internal { internal; }
         location /forbidden { return 403; }",
    );
    for (path, status) in [
        ("/return", 200),
        ("/redirect", 302),
        ("/rewrite", 301),
        ("/if?a=1", 204),
        ("/internal", 404),
        ("/forbidden", 403),
    ] {
        assert_eq!(site.send(get(path).cookie(ALICE)).status, status, "{path}");
    }
    assert_eq!(site.resolver.request_count(), 0);
    site.app_saw(get("/if").cookie(ALICE));
    assert_eq!(site.resolver.request_count(), 1);
}

#[test]
fn a_limited_request_makes_no_call() {
    let site = Site::builder()
        .http("limit_req_zone $binary_remote_addr zone=one:1m rate=1r/m;")
        .location("limit_req zone=one; limit_req_status 429; authgear_resolve http://%resolver%; proxy_pass http://%app%;")
        .start();
    assert_eq!(site.send(get("/").cookie(ALICE)).status, 200);
    assert_eq!(site.send(get("/").cookie(ALICE)).status, 429);
    assert_eq!(site.resolver.request_count(), 1);
}

#[test]
fn a_bad_request_makes_no_call() {
    let site = site("");
    let mut client = site.nginx.http1();
    client.send("GET / HTTP/1.1\r\nCookie: session=alice.secret\r\n\r\n");
    assert_eq!(client.read_response().status, 400, "no Host");
    assert_eq!(site.resolver.request_count(), 0);
}
