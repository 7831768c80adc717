//! Clients that send what they like: the application never sees an identity that the resolver did
//! not give for that request's own credentials.
//!
//! Judged of each request as the application received it: by the credentials in its headers, read
//! by Go's rules, and by the people whom the resolver knows.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::Duration;

use authgear_integration::{
    deadline, eventually, get, is_identity, post, Http1, Request, Response, Site, ALICE,
    ALICE_ACCESS_TOKEN, ALICE_APP_SESSION, ALICE_BEARER, ALICE_IDENTITY, BOB, BOB_IDENTITY, CAROL,
    GONE, INVALID_IDENTITY,
};
use bytes::Bytes;

#[allow(dead_code)]
#[path = "../../fuzz/src/go.rs"]
mod go;

const RESOLVE: &str = "authgear_resolve http://%resolver%; proxy_pass http://%app%;";

type Identity = &'static [(&'static str, &'static str)];

/// What the resolver says of these credentials: the first that works, or else of a bad session.
fn identity_of(authorization: Option<&str>, cookies: &[&str]) -> Identity {
    let bytes = |text: &str| -> Vec<u8> {
        // The application tells what is not UTF-8 byte for character.
        text.chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap_or(0xff))
            .collect()
    };
    let lines: Vec<Vec<u8>> = cookies.iter().map(|line| bytes(line)).collect();
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    let cookie = |name: &str| go::cookie(&lines, name);
    let of = |pair: &str| {
        pair.split_once('=')
            .map(|(_, value)| value.as_bytes().to_vec())
    };

    let bearer = authorization.and_then(|value| go::bearer(&bytes(value)));
    let is_alice = bearer.as_deref() == Some(ALICE_BEARER.as_bytes())
        || cookie("app_session") == of(ALICE_APP_SESSION)
        || cookie("app_access_token") == of(ALICE_ACCESS_TOKEN)
        || cookie("session") == of(ALICE);
    match cookie("session") {
        _ if is_alice => &ALICE_IDENTITY,
        session if session == of(BOB) => &BOB_IDENTITY,
        Some(_) => &INVALID_IDENTITY,
        None => &[],
    }
}

fn is(identity: &[(String, String)], wanted: Identity) -> bool {
    identity
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .eq(wanted.iter().copied())
}

/// Judges all requests that the application has received so far, and says how many there were.
fn judge(site: &Site, what: &str) -> usize {
    let requests = site.app.requests();
    for request in &requests {
        let mut identity: Vec<(String, String)> = request
            .headers
            .iter()
            .filter(|(name, _)| is_identity(name))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .collect();
        identity.sort();
        let expected = identity_of(request.header("authorization"), &request.values("cookie"));
        assert!(is(&identity, expected), "{what}: {request:?}");
    }
    site.app.clear_requests();
    requests.len()
}

/// Sends these bytes, and reads whatever comes until the server closes or is silent.
fn send_raw(site: &Site, wire: &[u8]) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(site.nginx.addr("http1")).expect("connect");
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .expect("timeout");
    let _ = stream.write_all(wire);
    let mut got = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut piece) {
        got.extend_from_slice(&piece[..n]);
    }
    String::from_utf8_lossy(&got).into_owned()
}

#[test]
fn odd_header_lines_smuggle_nothing() {
    let name = "X-Authgear-User-Id";
    for directives in ["", "underscores_in_headers on; ignore_invalid_headers off;"] {
        let site = Site::builder().http(directives).location(RESOLVE).start();
        let mut arrived = 0;
        for line in [
            format!("{name} : forged"),
            format!("{name}\t: forged"),
            format!("{name}:forged"),
            format!("{name}:\tforged"),
            format!(" {name}: forged"),
            format!("\t{name}: forged"),
            format!("Kept: a\r\n {name}: forged"),
            format!("Kept: a\r\n\t{name}: forged"),
            format!("Kept: a\r{name}: forged"),
            format!("Kept: a\n{name}: forged"),
            format!("Kept: a\n\r\n{name}: forged"),
            format!("Kept: a\r\r\n{name}: forged"),
            format!("Kept: a\0\r\n{name}: forged"),
            format!("{name}\0: forged"),
            format!("\0{name}: forged"),
            format!("{name}\u{e9}: forged"),
            format!("\u{feff}{name}: forged"),
            "X-Authgear-User-\u{130}d: forged".to_owned(),
            "X-\u{ff21}uthgear-User-Id: forged".to_owned(),
            format!("{name};: forged"),
            format!("\"{name}\": forged"),
            format!("({name}): forged"),
            format!("{name}:: forged"),
            format!(":{name}: forged"),
            format!("{name}\r\n: forged"),
            format!("{name}\r\n : forged"),
            format!("{}: forged", name.replace('-', "%2d")),
            format!("{}: forged", name.replace('-', "--")),
            format!("{}: forged", name.replace('-', "")),
            format!("Connection: {name}\r\n{name}: forged"),
            format!("Connection: close, X-Authgear-Session-Valid, {name}\r\n{name}: forged"),
            format!("Host: a\r\n{name}: forged"),
        ] {
            for cookie in [BOB, "a=b"] {
                let wire = format!(
                    "GET / HTTP/1.1\r\nHost: site.example\r\nCookie: {cookie}\r\n{line}\r\n\
                     X-Authgear-Session-Valid: forged\r\nConnection: close\r\n\r\n"
                );
                send_raw(&site, wire.as_bytes());
                arrived += judge(&site, &line);
            }
        }
        assert!(arrived > 0, "some are served");
    }
}

#[test]
fn trailers_smuggle_nothing() {
    let site = Site::builder()
        .server("underscores_in_headers on;")
        .location(&format!("{RESOLVE} proxy_http_version 1.1;"))
        .server(&format!("location /unbuffered {{ {RESOLVE} proxy_http_version 1.1; proxy_request_buffering off; }}"))
        .start();
    let mut arrived = 0;
    for path in ["/", "/unbuffered"] {
        for trailer in [
            "X-Authgear-User-Id: forged\r\nX-Authgear-Session-Valid: true\r\n",
            "x_authgear_user_id: forged\r\n",
            "Cookie: session=alice.secret\r\nAuthorization: Bearer alice-bearer\r\n",
        ] {
            for cookie in [BOB, "a=b"] {
                let wire = format!(
                    "POST {path} HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nTE: trailers\r\n\
                     Trailer: X-Authgear-User-Id\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
                     5\r\nhello\r\n0\r\n{trailer}\r\n"
                );
                send_raw(&site, wire.as_bytes());
                arrived += judge(&site, trailer);
            }
        }
    }
    assert!(arrived > 6, "they are served");

    let trailers = [
        ("x-authgear-user-id", "forged"),
        ("x_authgear_session_valid", "forged"),
        ("cookie", ALICE),
    ];
    for path in ["/", "/unbuffered"] {
        http2_with_trailers(site.nginx.addr("http2"), path, BOB, &trailers);
        judge(&site, "HTTP/2");
    }
}

/// A POST over HTTP/2 whose body is followed by headers.
fn http2_with_trailers(
    addr: SocketAddr,
    path: &str,
    cookie: &str,
    trailers: &[(&'static str, &str)],
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(addr).await.expect("connect");
        let (requests, connection) = h2::client::handshake(stream).await.expect("handshake");
        tokio::spawn(connection);
        let mut requests = requests;
        poll_fn(|context| requests.poll_ready(context))
            .await
            .expect("ready");
        let head = http::Request::builder()
            .method("POST")
            .uri(format!("http://site.example{path}"))
            .header("cookie", cookie)
            .body(())
            .expect("request");
        let (response, mut body) = requests.send_request(head, false).expect("sent");
        body.send_data(Bytes::from_static(b"hello"), false)
            .expect("data");
        let map = trailers
            .iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    http::HeaderValue::from_str(value).expect("value"),
                )
            })
            .collect();
        body.send_trailers(map).expect("trailers");
        // Served or refused: what counts is what arrived.
        let _ = tokio::time::timeout(deadline(), response).await;
    });
}

#[test]
fn two_hundred_headers_smuggle_nothing() {
    let site = Site::builder()
        .http("large_client_header_buffers 16 16k; underscores_in_headers on;")
        .location(RESOLVE)
        .start();
    let mut client = site.nginx.http1();
    let mut http2 = site.nginx.http2();
    for step in [2, 3, 20, 21] {
        let headers = (0..200).map(|n| {
            let name = match (n % step, n % 4) {
                (0, 0) => format!("X-Authgear-User-Id-{n}"),
                (0, 1) => "X-Authgear-User-Id".into(),
                (0, 2) => "x_authgear_session_valid".into(),
                (0, _) => "X-AUTHGEAR-USER_ROLES".into(),
                _ => format!("X-Other-{n}"),
            };
            let value = if n % step == 0 { "forged" } else { "fine" };
            (name, value)
        });
        for cookie in [ALICE, BOB, CAROL, "a=b"] {
            let request = get("/").headers(headers.clone()).cookie(cookie);
            assert_eq!(client.request(request.clone()).status, 200);
            assert_eq!(http2.request(request).status, 200);
        }
    }
    assert_eq!(judge(&site, "200 headers"), 32);
}

#[test]
fn enormous_and_many_cookies() {
    let site = Site::builder()
        .http("large_client_header_buffers 8 128k; proxy_buffers 8 256k; proxy_buffer_size 256k; proxy_busy_buffers_size 256k;")
        .location(RESOLVE)
        .start();
    let large = format!("other={}", "x".repeat(100_000));
    let many: String = (0..2_990).map(|n| format!("c{n}=1; ")).collect();
    let too_many: String = (0..3_001).map(|n| format!("c{n}=1; ")).collect();
    let huge_session = format!("session={}", "y".repeat(60_000));
    let rows: Vec<(&str, Vec<String>)> = vec![
        ("behind a large cookie", vec![format!("{large}; {ALICE}")]),
        ("before a large cookie", vec![format!("{BOB}; {large}")]),
        (
            "in lines around",
            vec![large.clone(), ALICE.into(), large.clone()],
        ),
        ("behind many", vec![format!("{many}{ALICE}")]),
        ("behind too many", vec![format!("{too_many}{ALICE}")]),
        ("before too many", vec![format!("{ALICE}; {too_many}")]),
        (
            "too many in another line",
            vec![ALICE.into(), too_many.clone()],
        ),
        (
            "in the last of 500 lines",
            (0..500)
                .map(|n| format!("l{n}=1"))
                .chain([BOB.into()])
                .collect(),
        ),
        ("500 times", vec![BOB.into(); 500]),
        (
            "two users, 250 times each",
            [vec![BOB.to_owned(); 250], vec![ALICE.to_owned(); 250]].concat(),
        ),
        ("a huge session", vec![huge_session.clone()]),
        (
            "a huge session before alice's",
            vec![format!("{huge_session}; {ALICE}")],
        ),
        (
            "a huge one of Authgear's others",
            vec![format!("app_session={}; {ALICE}", "z".repeat(60_000))],
        ),
    ];
    for (what, lines) in rows {
        let request = lines
            .iter()
            .fold(get("/"), |request, line| request.cookie(line));
        let response = site.send(request.header("X-Authgear-User-Id", "forged"));
        let expected = identity_of(None, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        match response.status {
            200 => assert!(
                is(&response.seen().identity(), expected),
                "{what}: {:.300}",
                response.text()
            ),
            // What the resolver double does not take.
            503 => assert!(what.contains("huge"), "{what}"),
            status => panic!("{what}: {status}"),
        }
        judge(&site, what);
    }

    // As nginx comes: too large is refused by nginx, and nobody is asked.
    let site = Site::serving(RESOLVE);
    let response = site.send(get("/").cookie(&format!("{large}; {ALICE}")));
    assert_eq!(response.status, 400);
    assert_eq!(
        (site.resolver.request_count(), site.app.request_count()),
        (0, 0)
    );
}

#[test]
fn bytes_that_are_no_text() {
    let site = Site::serving(RESOLVE);
    let mut arrived = 0;
    for bytes in [
        &b"\xff"[..],
        b"\xc3",
        b"\xc3\x28",
        b"\xed\xa0\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xc0\xaf",
        b"\x80session=bob.secret",
    ] {
        for head in [
            [&b"Cookie: session="[..], bytes, b"; session=bob.secret"].concat(),
            [&b"Cookie: session=alice.secret"[..], bytes].concat(),
            [
                &b"Cookie: "[..],
                bytes,
                b"session=alice.secret; session=bob.secret",
            ]
            .concat(),
            [&b"Cookie: other="[..], bytes, b"; session=alice.secret"].concat(),
            [&b"Authorization: Bearer "[..], bytes].concat(),
            [&b"Authorization: Bearer alice-bearer"[..], bytes].concat(),
            [&b"Authorization: "[..], bytes, b"Bearer alice-bearer"].concat(),
            [
                &b"User-Agent: "[..],
                bytes,
                b"\r\nCookie: session=alice.secret",
            ]
            .concat(),
        ] {
            let wire = [
                &b"GET /"[..],
                bytes,
                b" HTTP/1.1\r\nHost: a\r\n",
                &head,
                b"\r\nConnection: close\r\n\r\n",
            ]
            .concat();
            send_raw(&site, &wire);
            arrived += judge(&site, &head.escape_ascii().to_string());
        }
    }
    assert_eq!(arrived, 56);
}

#[test]
fn no_spelling_of_a_target_goes_around_a_location() {
    let site = Site::builder()
        .server(&format!(
            "location / {{ {RESOLVE} }}
             location /private {{ {RESOLVE} authgear_require session; }}
             location = /private/exact {{ {RESOLVE} authgear_require session; }}
             location /open {{ proxy_pass http://%app%; }}"
        ))
        .start();
    // The target, and whether it is protected.
    for (target, is_private) in [
        ("/private", true),
        ("/private/x", true),
        ("/private/exact", true),
        ("//private", true),
        ("///private///x", true),
        ("/./private", true),
        ("/x/../private", true),
        ("/open/../private", true),
        ("/open/%2e%2e/private", true),
        ("/open/%2E./private", true),
        ("/open%2f..%2fprivate", true),
        ("/open/..%2Fprivate/x", true),
        ("/%70rivate", true),
        ("/%70%72%69%76%61%74%65", true),
        ("/private%2fx", true),
        ("/private%2e", true),
        ("/private;x", true),
        ("/private%00", false),
        ("/private?x", true),
        ("/private#x", true),
        ("/open?/private", false),
        ("/open#/private", false),
        ("/open/%252e%252e/private", false),
        ("/private/../open", false),
        ("/private/%2e%2e/open", false),
        ("/%2570rivate", false),
        ("/open/..;/private", false),
        ("/open\\..\\private", false),
        ("http://site.example/private", true),
        ("http://evil.example/private", true),
        ("HTTP://site.example/private", true),
        ("http://site.example//private", true),
        ("http://user@site.example/private", true),
        ("http://site.example/open/../private", true),
        ("http://site.example?/private", false),
        ("http://site.example/open", false),
        ("https://site.example/private", true),
        ("ftp://site.example/private", true),
        ("/../private", true),
        ("*", false),
        ("private", false),
        ("site.example:80", false),
    ] {
        for (cookie, identity) in [
            ("a=b", &[][..]),
            (BOB, &BOB_IDENTITY[..]),
            (CAROL, &INVALID_IDENTITY[..]),
        ] {
            let wire = format!(
                "GET {target} HTTP/1.1\r\nHost: site.example\r\nCookie: {cookie}\r\n\
                 X-Authgear-User-Id: forged\r\nX-Authgear-Session-Valid: true\r\nConnection: close\r\n\r\n"
            );
            let response = send_raw(&site, wire.as_bytes());
            let status = response.get(9..12).unwrap_or_default();
            let what = format!("{target} with {cookie}: {status}");
            let is_session = identity == &BOB_IDENTITY[..];
            match status {
                "200" => assert!(!is_private || is_session, "{what}"),
                "401" => assert!(is_private && !is_session, "{what}"),
                // nginx's own refusals
                "400" | "404" | "405" => {}
                _ => panic!("{what}"),
            }
            let mut requests = site.app.requests();
            if target.contains("open") {
                // Where nothing is resolved there is no identity, whoever asks.
                requests
                    .retain(|request| request.headers.iter().any(|(name, _)| is_identity(name)));
            }
            if requests.is_empty() {
                site.app.clear_requests();
            }
            judge(&site, &what);
        }
    }
}

#[test]
fn slow_clients_get_each_their_own() {
    let site = Site::serving(RESOLVE);
    let heads: Vec<(Vec<u8>, Identity)> = [
        (ALICE, &ALICE_IDENTITY[..]),
        (BOB, &BOB_IDENTITY[..]),
        (CAROL, &INVALID_IDENTITY[..]),
        ("a=b", &[][..]),
    ]
    .into_iter()
    .map(|(cookie, identity)| {
        (
            get("/")
                .cookie(cookie)
                .header("X-Authgear-User-Id", "forged")
                .head(),
            identity,
        )
    })
    .collect();
    let mut clients: Vec<Http1> = heads.iter().map(|_| site.nginx.http1()).collect();
    for _ in 0..2 {
        let longest = heads.iter().map(|(head, _)| head.len()).max().unwrap_or(0);
        // One byte of each in turn, so that all heads are read at once.
        for at in 0..longest {
            for (client, (head, _)) in clients.iter_mut().zip(&heads) {
                if let Some(byte) = head.get(at) {
                    client.send([*byte]);
                }
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        for (client, (_, identity)) in clients.iter_mut().zip(&heads) {
            let seen = client.read_response().seen();
            assert!(is(&seen.identity(), identity), "{seen:?}");
        }
    }
    assert_eq!(judge(&site, "slow"), 8);
}

#[test]
fn aborted_uploads_leave_nothing_to_others() {
    let site = Site::builder()
        .location(&format!("{RESOLVE} proxy_http_version 1.1; proxy_request_buffering off; proxy_set_header Connection '';"))
        // What an application does whose client leaves.
        .expect_in_log("prematurely closed")
        .start();
    let people = [
        (ALICE, &ALICE_IDENTITY[..]),
        (BOB, &BOB_IDENTITY[..]),
        ("a=b", &[][..]),
    ];
    for round in 0..40 {
        let (cookie, _) = people[round % 3];
        let mut leaving = site.nginx.http1();
        let upload = post("/", Vec::new())
            .cookie(cookie)
            .header("Content-Length", "1000000")
            .header("X-Authgear-User-Id", "forged");
        leaving.send(upload.head());
        leaving.send(vec![b'x'; 1000 * round]);
        // What a reader who has lost count would take for a request.
        leaving.send(format!(
            "GET /smuggled HTTP/1.1\r\nHost: a\r\nCookie: {ALICE}\r\n\r\n"
        ));
        let (cookie, identity) = people[(round + 1) % 3];
        let mut other = site.nginx.http1();
        if round % 2 == 0 {
            leaving.reset();
        } else {
            drop(leaving);
        }
        for _ in 0..2 {
            let seen = other.request(get("/other").cookie(cookie)).seen();
            assert!(is(&seen.identity(), identity), "{seen:?}");
        }
    }
    let requests = site.app.requests();
    assert!(requests.iter().all(|request| request.target != "/smuggled"));
    judge(&site, "aborted");
}

/// Who is asked for, and how.
fn someone(number: usize, path: &str) -> (Request, Identity) {
    let body =
        b"GET /smuggled HTTP/1.1\r\nHost: a\r\nCookie: session=alice.secret\r\n\r\n".to_vec();
    let (request, identity): (Request, Identity) = match number % 9 {
        0 => (get(path).cookie(ALICE), &ALICE_IDENTITY),
        1 => (get(path).cookie(BOB), &BOB_IDENTITY),
        2 => (get(path), &[]),
        3 => (get(path).bearer(ALICE_BEARER), &ALICE_IDENTITY),
        4 => (get(path).cookie(CAROL), &INVALID_IDENTITY),
        5 => (post(path, body).cookie(BOB), &BOB_IDENTITY),
        6 => (
            post(path, Vec::new()).chunks([body]).cookie(GONE),
            &INVALID_IDENTITY,
        ),
        7 => (get(path).bearer("gone").cookie("a=b"), &[]),
        _ => (
            get(path).cookie(&format!("{BOB}; {ALICE_APP_SESSION}")),
            &ALICE_IDENTITY,
        ),
    };
    (request.header("X-Authgear-User-Id", "forged"), identity)
}

#[test]
fn pipelined_requests_of_different_users() {
    for cache in ["", "authgear_cache auth;"] {
        let site = Site::builder()
            .http("authgear_cache_zone zone=auth:1m;")
            .location(&format!("{RESOLVE} {cache}"))
            .start();
        for round in 0..6 {
            let mut client = site.nginx.http1();
            let asked: Vec<(Request, Identity)> = (0..50)
                .map(|n| someone(n * (round + 1) + n / 9, &format!("/{n}")))
                .collect();
            let wire: Vec<u8> = asked
                .iter()
                .flat_map(|(request, _)| [request.head(), request.wire_body()].concat())
                .collect();
            // All at once, or in pieces that end anywhere.
            for piece in wire.chunks([wire.len(), 1460, 777][round % 3]) {
                client.send(piece);
            }
            for (number, (_, identity)) in asked.iter().enumerate() {
                let seen = client.read_response().seen();
                assert_eq!(seen.target, format!("/{number}"));
                assert!(is(&seen.identity(), identity), "{number}: {seen:?}");
            }
        }
        assert_eq!(judge(&site, "pipelined"), 300);
    }
}

#[test]
fn requests_whose_end_is_in_doubt_smuggle_nobody() {
    let hidden = format!(
        "GET /hidden HTTP/1.1\r\nHost: a\r\nX-Authgear-User-Id: forged\r\nCookie: {ALICE}\r\n\r\n"
    );
    let length = hidden.len();
    let chunked = format!("{length:x}\r\n{hidden}\r\n0\r\n\r\n");
    let site = Site::builder()
        .location(&format!(
            "{RESOLVE} proxy_http_version 1.1; proxy_set_header Connection '';"
        ))
        .start();
    let after =
        format!("GET /after HTTP/1.1\r\nHost: a\r\nCookie: {CAROL}\r\nConnection: close\r\n\r\n");
    for (headers, body) in [
        (
            "Content-Length: 0\r\nTransfer-Encoding: chunked".to_owned(),
            chunked.clone(),
        ),
        (
            format!(
                "Transfer-Encoding: chunked\r\nContent-Length: {}",
                chunked.len()
            ),
            chunked.clone(),
        ),
        (
            "Transfer-Encoding: xchunked\r\nContent-Length: 0".into(),
            chunked.clone(),
        ),
        (
            "Transfer-Encoding : chunked\r\nContent-Length: 0".into(),
            hidden.clone(),
        ),
        (
            "Transfer-Encoding:\x0bchunked\r\nContent-Length: 0".into(),
            hidden.clone(),
        ),
        (
            "Transfer-Encoding: chunked, identity\r\nContent-Length: 0".into(),
            hidden.clone(),
        ),
        (
            "Transfer_Encoding: chunked\r\nContent-Length: 0".into(),
            hidden.clone(),
        ),
        (
            format!("Content-Length: 0\r\nContent-Length: {length}"),
            hidden.clone(),
        ),
        (
            format!("Content-Length: {length}\r\nContent-Length: 0"),
            hidden.clone(),
        ),
        (format!("Content-Length: +{length}"), hidden.clone()),
        (
            format!("Content-Length: {length}, {length}"),
            hidden.clone(),
        ),
        (format!("Content-Length: {length}"), hidden.clone()),
        (format!("Content-Length : {length}"), hidden.clone()),
        (format!("Content_Length: {length}"), hidden.clone()),
        ("Transfer-Encoding: chunked".into(), chunked.clone()),
        (
            "Transfer-Encoding: chunked".into(),
            format!("0\r\n\r\n{hidden}"),
        ),
        (
            "Transfer-Encoding: chunked".into(),
            format!("0;\n\r\n{hidden}"),
        ),
        (
            "Transfer-Encoding: chunked".into(),
            format!("\r\n\r\n{hidden}"),
        ),
        (
            "Expect: 100-continue\r\nContent-Length: 0".into(),
            hidden.clone(),
        ),
        (
            format!("Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: {length}"),
            hidden.clone(),
        ),
    ] {
        for (method, cookie) in [("POST", BOB), ("GET", "a=b")] {
            let wire = format!("{method} / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n{headers}\r\n\r\n{body}{after}");
            send_raw(&site, wire.as_bytes());
            judge(&site, &format!("{method} {headers:?}"));
            // Whose connection it was, others on the application's connections are not touched.
            let response: Response = site.send(get("/other").cookie(BOB));
            assert!(
                is(&response.seen().identity(), &BOB_IDENTITY),
                "{headers:?}"
            );
            judge(&site, "the next");
        }
    }
}

#[test]
fn http2_streams_of_different_users_at_once() {
    let site = Site::builder()
        .http("authgear_cache_zone zone=auth:1m;")
        .location(&format!("{RESOLVE} authgear_cache auth;"))
        .start();
    let mut client = site.nginx.http2();
    for round in 0..4 {
        let pending: Vec<_> = (0..60)
            .map(|n| {
                let (request, identity) = someone(n * (round + 1) + n / 9, &format!("/{n}"));
                (client.start(request), identity)
            })
            .collect();
        for (number, (pending, identity)) in pending.into_iter().enumerate() {
            let seen = client.finish(pending).seen();
            assert_eq!(seen.target, format!("/{number}"));
            assert!(is(&seen.identity(), identity), "{number}: {seen:?}");
        }
    }
    eventually("all have arrived", || {
        (site.app.request_count() == 240).then_some(())
    });
    assert_eq!(judge(&site, "HTTP/2"), 240);
}
