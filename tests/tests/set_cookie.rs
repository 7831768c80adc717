//! `authgear_pass_set_cookie`: the resolver's Set-Cookie lines reach the client.

use authgear_integration::{answer, get, Scripted, Site, CAROL};

const VALID: [(&str, &str); 2] = [
    ("X-Authgear-Session-Valid", "true"),
    ("X-Authgear-User-Id", "alice"),
];
const COOKIES: [(&str, &str); 2] = [
    ("Set-Cookie", "session=; Path=/; Max-Age=0"),
    (
        "set-cookie",
        "app_session=new; Path=/; HttpOnly; SameSite=Lax",
    ),
];
const BOTH: [&str; 2] = [COOKIES[0].1, COOKIES[1].1];

const SITE: &str = "authgear_resolve http://%resolver%; proxy_pass http://%app%;";

/// Answers: headers, and the status they come with.
fn resolver(status: u16, headers: &[(&str, &str)]) -> Scripted {
    Scripted::answering(answer(status, &[headers, &COOKIES].concat()))
}

#[test]
fn every_one_reaches_the_client_on_every_outcome() {
    let invalid = [("X-Authgear-Session-Valid", "false")];
    let twice = [VALID[0], VALID[0], VALID[1]];
    type Headers<'a> = &'a [(&'a str, &'a str)];
    // The answer, the client's status.
    let table: [(&str, u16, Headers, u16); 5] = [
        ("valid", 200, &VALID, 200),
        ("invalid", 200, &invalid, 200),
        ("none", 200, &[], 200),
        ("another status", 500, &[], 503),
        ("malformed", 200, &twice, 503),
    ];
    for (name, answer_status, headers, status) in table {
        let resolver = resolver(answer_status, headers);
        let site = Site::serving_with(&resolver, SITE);
        let over_http1 = site.send(get("/").cookie("session=x"));
        let over_http2 = site.nginx.http2().request(get("/").cookie("session=x"));
        for response in [over_http1, over_http2] {
            assert_eq!(response.status, status, "{name}");
            assert_eq!(response.all("Set-Cookie"), BOTH, "{name}");
        }
    }
}

#[test]
fn it_reaches_the_client_whatever_answers_the_request() {
    let resolver = resolver(200, &VALID);
    let site = Site::builder()
        .place("resolver", resolver.addr())
        .server(
            "authgear_resolve http://%resolver%;
             location /file { root %prefix%/html; }
             location /missing { root %prefix%/html; }
             location /missing/page { root %prefix%/html; error_page 404 /file; }
             location /named { try_files /no @app; }
             location @app { proxy_pass http://%app%; }
             location /down { proxy_pass http://127.0.0.1:1; }",
        )
        .nginx(|nginx| nginx.file("html/file", "text"))
        .start();
    for (path, status) in [
        ("/file", 200),
        ("/missing", 404),
        ("/missing/page", 404),
        ("/named", 200),
        ("/down", 502),
    ] {
        let response = site.send(get(path).cookie("session=x"));
        assert_eq!(response.status, status, "{path}");
        assert_eq!(response.all("Set-Cookie"), BOTH, "{path}");
    }
    let head = authgear_integration::request("HEAD", "/file").cookie("session=x");
    assert_eq!(site.send(head).all("Set-Cookie"), BOTH);
}

#[test]
fn the_clearing_cookie_of_a_disabled_user_reaches_the_client() {
    let site = Site::serving(SITE);
    let response = site.send(get("/").cookie(CAROL));
    let cookies = response.all("Set-Cookie");
    assert!(
        matches!(cookies[..], [cookie] if cookie.starts_with("session=;")),
        "{cookies:?}"
    );
}

#[test]
fn the_application_sets_its_own_beside_it() {
    let resolver = resolver(200, &VALID);
    let site = Site::builder()
        .place("resolver", resolver.addr())
        .location("authgear_resolve http://%resolver%; proxy_pass http://%listen:backend%;")
        .http("server { listen %listen:backend%; add_header Set-Cookie app=1; return 204; }")
        .start();
    let response = site.send(get("/").cookie("session=x"));
    let mut cookies = response.all("Set-Cookie");
    cookies.sort_unstable();
    assert_eq!(cookies, ["app=1", BOTH[1], BOTH[0]]);
}

#[test]
fn off_keeps_it_from_the_client() {
    let resolver = resolver(200, &VALID);
    let site = Site::builder()
        .place("resolver", resolver.addr())
        .server(&format!(
            "authgear_pass_set_cookie off; location / {{ {SITE} }}
             location /on {{ authgear_pass_set_cookie on; {SITE} }}"
        ))
        .start();
    assert!(site
        .send(get("/").cookie("session=x"))
        .all("Set-Cookie")
        .is_empty());
    assert_eq!(
        site.send(get("/on").cookie("session=x")).all("Set-Cookie"),
        BOTH
    );
}

#[test]
fn no_other_header_of_the_answer_reaches_the_client() {
    let resolver = resolver(
        200,
        &[
            VALID[0],
            VALID[1],
            ("X-Robots-Tag", "none"),
            ("Vary", "Cookie"),
        ],
    );
    let site = Site::serving_with(&resolver, SITE);
    let response = site.send(get("/").cookie("session=x"));
    for name in [
        "X-Robots-Tag",
        "Vary",
        "X-Authgear-User-Id",
        "X-Authgear-Session-Valid",
    ] {
        assert_eq!(response.header(name), None, "{name}");
    }
}

#[test]
fn a_request_of_another_client_never_gets_it() {
    let resolver = Scripted::new(|conversation| {
        while let Some(request) = conversation.read_request() {
            let headers = if request.contains("session=x") {
                [&VALID[..], &COOKIES].concat()
            } else {
                VALID.to_vec()
            };
            conversation.send(answer(200, &headers));
        }
    });
    let site = Site::serving_with(&resolver, SITE);
    let mut client = site.nginx.http1();
    for _ in 0..5 {
        assert_eq!(
            client
                .request(get("/").cookie("session=x"))
                .all("Set-Cookie"),
            BOTH
        );
        assert!(client
            .request(get("/").cookie("session=y"))
            .all("Set-Cookie")
            .is_empty());
    }
}
