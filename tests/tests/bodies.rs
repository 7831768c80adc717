//! Request bodies arrive whole, whatever the resolve takes.

use std::time::Duration;

use authgear_integration::{answer, deadline, get, post, request, Request, Scripted, Site, ALICE};
use authgear_resolver_double::{fnv1a, Fault};

/// Larger than the client body buffer (16k), than an HTTP/2 window (64k), than both many times.
const SIZES: [usize; 6] = [0, 1, 1000, 40_000, 200_000, 1_000_000];

fn body(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n % 251) as u8).collect()
}

fn in_chunks(size: usize) -> Request {
    let chunks: Vec<Vec<u8>> = body(size).chunks(7001).map(<[u8]>::to_vec).collect();
    request("POST", "/").chunks(chunks)
}

/// A site whose resolver takes a moment, so that bodies arrive while it is waited for.
fn slow_site(directives: &str) -> Site {
    let site = Site::serving(&format!(
        "authgear_resolve http://%resolver%; client_max_body_size 0; client_body_buffer_size 16k;
         {directives} proxy_pass http://%app%; proxy_http_version 1.1;"
    ));
    site.resolver.set_delay(Duration::from_millis(20));
    site
}

#[test]
fn bodies_of_every_size_arrive() {
    for buffering in ["on", "off"] {
        let site = slow_site(&format!("proxy_request_buffering {buffering};"));
        let mut http1 = site.nginx.http1();
        let mut http2 = site.nginx.http2();
        for size in SIZES {
            for request in [post("/", body(size)), in_chunks(size)] {
                let request = request.cookie(ALICE);
                for response in [
                    http1.request(request.clone()),
                    http2.request(request.clone()),
                ] {
                    let seen = response.seen();
                    assert_eq!(seen.body_length, size as u64, "{buffering} {size}");
                    assert_eq!(seen.body_digest, fnv1a(&body(size)), "{buffering} {size}");
                    assert_eq!(seen.get("x-authgear-user-id"), Some("alice"));
                }
            }
        }
    }
}

#[test]
fn a_body_that_comes_while_the_resolve_is_waited_for_arrives() {
    for buffering in ["on", "off"] {
        let site = slow_site(&format!("proxy_request_buffering {buffering};"));
        site.resolver.set_delay(Duration::from_millis(200));
        let mut client = site.nginx.http1();
        for (round, size) in [1, 20_000, 300_000].into_iter().enumerate() {
            let request = post("/", body(size)).cookie(ALICE);
            client.send(request.head());
            assert!(
                site.resolver.wait_for_requests(round + 1, deadline()),
                "asked before the body"
            );
            let wire = request.wire_body();
            let (first, second) = wire.split_at(size / 2);
            client.send(first);
            client.send(second);
            let seen = client.read_response().seen();
            assert_eq!(seen.body_digest, fnv1a(&wire), "{buffering} {size}");
        }
    }
}

#[test]
fn a_body_that_comes_after_the_resolve_arrives() {
    for buffering in ["on", "off"] {
        let site = slow_site(&format!("proxy_request_buffering {buffering};"));
        site.resolver.set_delay(Duration::ZERO);
        let mut client = site.nginx.http1();
        let request = post("/", body(50_000)).cookie(ALICE);
        client.send(request.head());
        assert!(site.resolver.wait_for_requests(1, deadline()));
        assert!(client.is_silent_for(Duration::from_millis(100)));
        client.send(request.wire_body());
        assert_eq!(
            client.read_response().seen().body_length,
            50_000,
            "{buffering}"
        );
    }
}

#[test]
fn a_client_that_expects_100_continue_gets_it() {
    for buffering in ["on", "off"] {
        let site = slow_site(&format!("proxy_request_buffering {buffering};"));
        let mut client = site.nginx.http1();
        for request in [post("/", body(70_000)), in_chunks(70_000)] {
            let request = request.cookie(ALICE).header("Expect", "100-continue");
            client.send(request.head());
            assert_eq!(client.read_interim(), 100);
            client.send(request.wire_body());
            let seen = client.read_response().seen();
            assert_eq!(seen.body_digest, fnv1a(&body(70_000)), "{buffering}");
        }
    }
}

#[test]
fn uploads_at_once_on_one_http2_connection_arrive() {
    for buffering in ["on", "off"] {
        let site = slow_site(&format!("proxy_request_buffering {buffering};"));
        let mut client = site.nginx.http2();
        let pending: Vec<_> = [0, 1, 40_000, 200_000, 3, 90_000, 0, 500_000]
            .into_iter()
            .map(|size| (size, client.start(post("/", body(size)).cookie(ALICE))))
            .collect();
        for (size, pending) in pending {
            let seen = client.finish(pending).seen();
            assert_eq!(seen.body_length, size as u64, "{buffering}");
            assert_eq!(seen.body_digest, fnv1a(&body(size)), "{buffering} {size}");
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let site = slow_site("");
    let mut wire = Vec::new();
    for size in [5, 30_000, 0] {
        let request = post(&format!("/{size}"), body(size)).cookie(ALICE);
        wire.extend(request.head());
        wire.extend(request.wire_body());
        wire.extend(get("/next").head());
    }
    let mut client = site.nginx.http1();
    client.send(wire);
    for size in [5, 30_000, 0] {
        let seen = client.read_response().seen();
        assert_eq!(
            (seen.target, seen.body_length),
            (format!("/{size}"), size as u64)
        );
        let seen = client.read_response().seen();
        assert_eq!((seen.target.as_str(), seen.identity().len()), ("/next", 0));
    }
}

#[test]
fn a_denied_upload_never_hangs() {
    for buffering in ["on", "off"] {
        let site = slow_site(&format!("proxy_request_buffering {buffering};"));
        site.resolver.set_fault(Fault::status(500));
        for size in SIZES {
            let request = post("/", body(size)).cookie(ALICE);
            assert_eq!(site.send(request.clone()).status, 503, "{buffering} {size}");
            let mut http2 = site.nginx.http2();
            assert_eq!(
                http2.request(request.clone()).status,
                503,
                "{buffering} {size}"
            );
            assert_eq!(
                http2.request(get("/")).status,
                200,
                "the connection goes on"
            );
        }
        let mut client = site.nginx.http1();
        for _ in 0..3 {
            let denied = client.request(post("/", body(3000)).cookie(ALICE));
            assert_eq!(denied.status, 503);
            assert_eq!(
                client.request(get("/")).status,
                200,
                "the connection goes on"
            );
        }
        let request = post("/", body(10))
            .cookie(ALICE)
            .header("Expect", "100-continue");
        client.send(request.head());
        // As for nginx's own refusals: the final status, with or without a 100 before it.
        assert_eq!(client.read_response().status, 503);
    }
}

#[test]
fn the_resolver_is_asked_while_the_body_is_still_missing() {
    let resolver = Scripted::answering(answer(500, &[]));
    let site = Site::serving_with(
        &resolver,
        "authgear_resolve http://%resolver%; proxy_pass http://%app%;",
    );
    let mut client = site.nginx.http1();
    client.send(post("/", body(1_000_000)).cookie(ALICE).head());
    assert_eq!(
        client.read_response().status,
        503,
        "without a byte of the body"
    );
}

#[test]
fn a_body_to_a_location_that_reads_none_is_discarded() {
    let site = Site::builder()
        .location("authgear_resolve http://%resolver%; add_header user $authgear_user_id;")
        .nginx(|nginx| nginx.file("html/page.html", "hello"))
        .start();
    site.resolver.set_delay(Duration::from_millis(20));
    let mut client = site.nginx.http1();
    let mut with_body = get("/page.html").cookie(ALICE);
    with_body = with_body.chunks([body(30_000)]);
    for _ in 0..3 {
        let response = client.request(with_body.clone());
        assert_eq!(
            (response.text().as_str(), response.header("user")),
            ("hello", Some("alice"))
        );
    }
}
