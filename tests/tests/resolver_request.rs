//! What the resolver is asked: an allow-list, and nothing else of the client's request.

use authgear_integration::{get, post, request, Request, Site, ALICE, ALICE_BEARER};
use authgear_resolver_double::RecordedRequest;

const SITE: &str = "authgear_resolve http://%resolver%; proxy_pass http://%app%;";

/// Names and values in the order of the names.
fn headers(request: &RecordedRequest) -> Vec<(String, String)> {
    let mut headers: Vec<_> = request
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .collect();
    headers.sort();
    headers
}

fn expected(site: &Site, rest: &[(&str, &str)]) -> Vec<(String, String)> {
    let host = site.resolver.addr().to_string();
    let mut headers: Vec<_> = [("host", host.as_str()), ("x-forwarded-proto", "http")]
        .iter()
        .chain(rest)
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    headers.sort();
    headers
}

/// Everything a client could try to have passed on.
fn with_everything(request: Request) -> Request {
    let headers = [
        ("User-Agent", "browser/1.0"),
        ("Authorization", "Bearer alice-bearer"),
        ("Cookie", "theme=dark; session=alice.secret; other=1"),
        ("X-Forwarded-For", "203.0.113.7"),
        ("X-Forwarded-Host", "admin.example"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Port", "443"),
        ("X-Original-Host", "admin.example"),
        ("X-Original-For", "203.0.113.9"),
        ("X-Original-URL", "/admin"),
        (
            "Forwarded",
            "for=203.0.113.8;host=admin.example;proto=https",
        ),
        ("X-Real-IP", "203.0.113.9"),
        ("X-Authgear-User-Id", "mallory"),
        ("X-Authgear-Session-Valid", "true"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("Accept", "text/html"),
        ("Accept-Encoding", "gzip"),
        ("Accept-Language", "de"),
        ("Cache-Control", "no-cache"),
        ("Content-Type", "application/json"),
        ("Content-Encoding", "identity"),
        ("Content-Language", "de"),
        ("If-None-Match", "\"x\""),
        ("If-Modified-Since", "Sat, 29 Oct 1994 19:43:31 GMT"),
        ("Origin", "https://evil.example"),
        ("Range", "bytes=0-1"),
        ("Referer", "https://evil.example/"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Via", "1.1 other"),
    ];
    request.headers(headers)
}

#[test]
fn only_the_allow_list_is_sent() {
    let site = Site::serving(SITE);
    let everything = [
        ("authorization", "Bearer alice-bearer"),
        ("cookie", ALICE),
        ("user-agent", "browser/1.0"),
        ("x-forwarded-for", "203.0.113.7, 127.0.0.1"),
    ];
    let hop_by_hop = |request: Request| {
        request
            .header("Upgrade", "websocket")
            .header("Connection", "Upgrade, X-Forwarded-For")
            .header("Keep-Alive", "timeout=5")
            .header("TE", "trailers")
            .header("Proxy-Authorization", "Basic eDp5")
    };

    site.app_saw(hop_by_hop(with_everything(get("/path?query=1"))));
    site.app_saw(hop_by_hop(with_everything(post("/path", "a body"))));
    site.app_saw(with_everything(
        request("PUT", "/path").chunks([b"a body".to_vec()]),
    ));
    let mut http2 = site.nginx.http2();
    assert_eq!(http2.request(with_everything(get("/path"))).status, 200);
    assert_eq!(
        http2
            .request(with_everything(post("/path", "a body")))
            .status,
        200
    );

    let requests = site.resolver.requests();
    assert_eq!(requests.len(), 5);
    for request in &requests {
        assert_eq!(headers(request), expected(&site, &everything));
        let line = (
            request.method.as_str(),
            request.target.as_str(),
            request.version.as_str(),
        );
        assert_eq!(line, ("GET", "/_resolver/resolve", "HTTP/1.1"));
        assert_eq!(request.body_length, 0);
    }
}

#[test]
fn every_method_resolves_with_get() {
    let site = Site::serving(SITE);
    for method in [
        "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "PROPFIND", "REPORT",
    ] {
        let before = site.app.request_count();
        let mut client = site.nginx.http1();
        client.send(request(method, "/").cookie(ALICE).head());
        let response = client.read_response_to(method).expect("a response");
        assert_eq!(response.status, 200, "{method}");
        let seen = &site.app.requests()[before];
        assert_eq!(seen.method, method);
        assert_eq!(seen.header("x-authgear-user-id"), Some("alice"), "{method}");
    }
    let requests = site.resolver.requests();
    assert_eq!(requests.len(), 7);
    assert!(requests.iter().all(|request| request.method == "GET"));
}

#[test]
fn http10_clients_are_resolved_over_http11() {
    let site = Site::serving(SITE);
    let mut client = site.nginx.http1();
    client.send(format!("GET / HTTP/1.0\r\nCookie: {ALICE}\r\n\r\n"));
    let seen = client.read_response().seen();
    assert_eq!(seen.get("x-authgear-user-id"), Some("alice"));
    assert_eq!(site.resolver.requests()[0].version, "HTTP/1.1");
}

#[test]
fn what_the_client_does_not_send_is_absent() {
    let site = Site::serving(SITE);
    site.app_saw(get("/").cookie(ALICE));
    site.app_saw(get("/").bearer(ALICE_BEARER));

    let requests = site.resolver.requests();
    let forwarded = ("x-forwarded-for", "127.0.0.1");
    assert_eq!(
        headers(&requests[0]),
        expected(&site, &[forwarded, ("cookie", ALICE)])
    );
    let bearer = ("authorization", "Bearer alice-bearer");
    assert_eq!(headers(&requests[1]), expected(&site, &[forwarded, bearer]));
}

#[test]
fn several_forwarded_for_lines_are_joined() {
    let site = Site::serving(SITE);
    site.app_saw(
        get("/")
            .cookie(ALICE)
            .header("X-Forwarded-For", "203.0.113.1")
            .header("X-Forwarded-For", "203.0.113.2"),
    );
    let requests = site.resolver.requests();
    let forwarded = requests[0].values("X-Forwarded-For");
    assert_eq!(forwarded, ["203.0.113.1, 203.0.113.2, 127.0.0.1"]);
}

#[test]
fn the_head_has_no_room_for_injection() {
    let site = Site::builder()
        .location(&format!(
            "{SITE} authgear_set_header X-Path $uri; authgear_set_header X-Args $arg_a;"
        ))
        .start();
    // nginx decodes %0d%0a in $uri.
    site.send(get("/a%0d%0aX-Forwarded-Host:%20admin.example?a=b%0d%0aHost:%20c").cookie(ALICE));
    for request in site.resolver.requests() {
        assert_eq!(request.header("X-Forwarded-Host"), None);
        assert_eq!(request.values("Host").len(), 1);
    }
}

#[test]
fn client_max_body_size_plays_no_part() {
    let site = Site::with_server(
        "client_max_body_size 1;
         location / { authgear_resolve http://%resolver%; client_max_body_size 0; proxy_pass http://%app%; }
         location /small { authgear_resolve http://%resolver%; proxy_pass http://%app%; }",
    );
    let seen = site.app_saw(post("/", vec![b'x'; 100_000]).cookie(ALICE));
    assert_eq!(seen.body_length, 100_000);
    assert_eq!(
        site.send(post("/small", "too large").cookie(ALICE)).status,
        413
    );
}
