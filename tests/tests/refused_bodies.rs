//! The body of a refused upload is handled as nginx handles it for its own 401.

use std::time::Duration;

use authgear_integration::{get, post, request, Http1, Request, Site};
use authgear_resolver_double::Fault;

const SIZES: [usize; 4] = [0, 1, 100_000, 3_000_000];

/// Locations that refuse, each in another form, `/basic` being nginx's own.
const FORMS: [(&str, &str); 5] = [
    ("/basic", "*/*"),
    ("/page", "*/*"),
    ("/page", "application/json"),
    ("/error_page", "*/*"),
    ("/failing", "application/json"),
];

fn site(lines: &str) -> Site {
    let site = Site::builder()
        .nginx(|nginx| nginx.file("passwords", ""))
        .server(&format!(
            "client_max_body_size 0; client_body_buffer_size 16k; lingering_timeout 200ms;
             {lines}
             location /basic {{ auth_basic site; auth_basic_user_file %prefix%/passwords; proxy_pass http://%app%; }}
             location /page {{
                 authgear_resolve http://%resolver%; authgear_require session; proxy_pass http://%app%;
             }}
             location /error_page {{
                 error_page 401 = @denied;
                 authgear_resolve http://%resolver%; authgear_require session; proxy_pass http://%app%;
             }}
             location @denied {{ return 401 denied; }}
             location /failing {{
                 authgear_resolve http://%resolver%; authgear_error_status 401; proxy_pass http://%app%;
             }}
             location /alive {{ return 204; }}"
        ))
        .start();
    site.resolver.set_fault(Fault::status(500));
    site
}

fn body(size: usize) -> Vec<u8> {
    vec![b'x'; size]
}

fn uploads(path: &str, accept: &str, size: usize) -> [Request; 2] {
    let pieces: Vec<Vec<u8>> = body(size).chunks(7_001).map(<[u8]>::to_vec).collect();
    [post(path, body(size)), request("PUT", path).chunks(pieces)].map(|request| {
        request
            .header("Accept", accept)
            // Resolved by a call that fails, where a call is made.
            .cookie("session=x")
    })
}

#[test]
fn the_connection_stays_usable() {
    let site = site("");
    for (path, accept) in FORMS {
        if path == "/page" || path == "/error_page" {
            site.resolver.clear_fault();
        } else {
            site.resolver.set_fault(Fault::status(500));
        }
        let mut http1 = site.nginx.http1();
        let mut http2 = site.nginx.http2();
        for size in SIZES {
            for upload in uploads(path, accept, size) {
                let what = format!("{path} {accept} {size}");
                assert_eq!(http1.request(upload.clone()).status, 401, "{what}");
                assert_eq!(http1.request(get("/alive")).status, 204, "{what}");
                assert_eq!(http2.request(upload).status, 401, "{what}");
                assert_eq!(http2.request(get("/alive")).status, 204, "{what}");
            }
        }
    }
    assert_eq!(site.app.request_count(), 0);
}

/// The rest of the body comes after the refusal, and is not taken for a request.
#[test]
fn a_body_that_comes_late_is_thrown_away() {
    let site = site("");
    for (path, accept) in FORMS {
        let mut client = site.nginx.http1();
        for [first, rest] in [[0, 4], [1, 3], [2, 200_000], [60_000, 60_000]] {
            let length = first + rest;
            client.send(format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\nCookie: session=x\r\n\
                 Content-Length: {length}\r\n\r\n"
            ));
            client.send(body(first));
            assert_eq!(status_of(&mut client, path), expected(path));
            client.send(body(rest / 2));
            client.send(body(rest - rest / 2));
            assert_eq!(client.request(get("/alive")).status, 204, "{path} {length}");

            client.send(format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\nCookie: session=x\r\n\
                 Transfer-Encoding: chunked\r\n\r\n"
            ));
            client.send(format!("{rest:x}\r\n"));
            assert_eq!(status_of(&mut client, path), expected(path));
            client.send(body(rest));
            client.send("\r\n0\r\n\r\n");
            assert_eq!(client.request(get("/alive")).status, 204, "{path} {rest}");
        }
    }
}

fn status_of(client: &mut Http1, path: &str) -> u16 {
    let response = client.read_response();
    assert!(response.interim.is_empty(), "{path}");
    response.status
}

/// `/page` is resolved by a call that fails, too.
fn expected(path: &str) -> u16 {
    match path {
        "/page" | "/error_page" => 503,
        _ => 401,
    }
}

/// Requests that were sent without waiting for an answer are answered one after the other.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let site = site("");
    for (path, accept) in FORMS {
        let mut client = site.nginx.http1();
        let head = format!("Host: a\r\nAccept: {accept}\r\nCookie: session=x\r\n");
        let mut wire = String::new();
        for _ in 0..3 {
            wire += &format!("POST {path} HTTP/1.1\r\n{head}Content-Length: 4\r\n\r\nbody");
            wire += &format!("GET {path} HTTP/1.1\r\n{head}\r\n");
            wire += "GET /alive HTTP/1.1\r\nHost: a\r\n\r\n";
        }
        client.send(wire);
        for _ in 0..3 {
            assert_eq!(status_of(&mut client, path), expected(path));
            assert_eq!(status_of(&mut client, path), expected(path));
            assert_eq!(status_of(&mut client, path), 204);
        }
    }
}

/// Who asks whether to send the body is told no, and not `100 Continue` first.
#[test]
fn no_body_is_asked_for() {
    let site = site("");
    for resolving in [false, true] {
        for (path, accept) in FORMS {
            let cookie = if resolving {
                "Cookie: session=x\r\n"
            } else {
                ""
            };
            // `return`, which answers there, asks for the body, whoever leads to it.
            if path == "/error_page" || path == "/failing" && !resolving {
                continue;
            }
            for length in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
                let mut client = site.nginx.http1();
                client.send(format!(
                    "POST {path} HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n{cookie}\
                     Expect: 100-continue\r\n{length}\r\n\r\n"
                ));
                let response = client.read_response();
                let what = format!("{path} {accept} {length}, resolving: {resolving}");
                assert!(response.interim.is_empty(), "{what}");
                let denied = if resolving { expected(path) } else { 401 };
                assert_eq!(response.status, denied, "{what}");
                // The client keeps its body, and nginx stops waiting for it.
                assert!(client.is_closed(), "{what}");
            }
        }
    }
}

/// And a body that was announced and never ends holds no connection for ever.
#[test]
fn a_body_that_never_comes_is_waited_for_briefly() {
    let site = site("");
    for (path, accept) in FORMS {
        let mut client = site.nginx.http1();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\nCookie: session=x\r\n\
             Content-Length: 1000000\r\n\r\nonly this"
        ));
        assert_eq!(status_of(&mut client, path), expected(path));
        assert!(client.is_closed(), "{path} {accept}");
    }
}

#[test]
fn a_body_that_comes_while_the_resolver_is_asked_is_thrown_away() {
    let site = site("");
    site.resolver.clear_fault();
    site.resolver.set_delay(Duration::from_millis(100));
    for (path, accept) in &FORMS[1..4] {
        for size in [10, 300_000] {
            for upload in uploads(path, accept, size) {
                let mut client = site.nginx.http1();
                assert_eq!(client.request(upload.clone()).status, 401, "{path} {size}");
                assert_eq!(client.request(get("/alive")).status, 204, "{path} {size}");
                let mut client = site.nginx.http2();
                assert_eq!(client.request(upload).status, 401, "{path} {size}");
                assert_eq!(client.request(get("/alive")).status, 204, "{path} {size}");
            }
        }
    }
}

/// Requests of one HTTP/2 connection do not disturb each other.
#[test]
fn refused_uploads_leave_other_streams_alone() {
    let site = site("");
    site.resolver.clear_fault();
    let mut client = site.nginx.http2();
    let pending: Vec<_> = (0..20)
        .map(|n| {
            let (path, accept) = FORMS[n % 4];
            let [upload, _] = uploads(path, accept, 200_000);
            (client.start(upload), client.start(get("/alive")))
        })
        .collect();
    for (upload, alive) in pending {
        assert_eq!(client.finish(upload).status, 401);
        assert_eq!(client.finish(alive).status, 204);
    }
}

/// What is too large is refused for that, before anybody is asked.
#[test]
fn the_limit_of_a_body_comes_first() {
    let site = Site::serving(
        "client_max_body_size 1k; authgear_resolve http://%resolver%; authgear_require session;
         proxy_pass http://%app%;",
    );
    let upload = || post("/", body(2_000)).cookie("session=x");
    assert_eq!(site.send(upload()).status, 413);
    assert_eq!(site.nginx.http2().request(upload()).status, 413);
    assert_eq!(site.resolver.request_count(), 0);
}

/// `lingering_close off` and `keepalive_timeout 0` are obeyed.
#[test]
fn a_connection_that_is_to_close_is_closed() {
    for lines in [
        "keepalive_timeout 0;",
        "keepalive_timeout 0; lingering_close off;",
    ] {
        let site = site(lines);
        for (path, accept) in FORMS {
            let mut client = site.nginx.http1();
            let [upload, _] = uploads(path, accept, 1_000);
            let response = client.request(upload);
            assert_eq!(response.status, expected(path), "{lines} {path}");
            assert_eq!(
                response.header("Connection"),
                Some("close"),
                "{lines} {path}"
            );
            assert!(client.is_closed(), "{lines} {path}");
        }
    }
}
