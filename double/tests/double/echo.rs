//! The app.

use std::time::{Duration, Instant};

use authgear_resolver_double::{fnv1a, EchoApp};
use serde_json::{json, Value};

use crate::client::{Client, End, Response};

fn json(response: &Response) -> Value {
    assert_eq!(response.get("content-type"), Some("application/json"));
    serde_json::from_slice(&response.body).expect("JSON")
}

#[test]
fn it_tells_what_it_received() {
    let app = EchoApp::start();
    let mut client = Client::new(app.addr());
    client.send_bytes(
        b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nx-MIXED:  1 \r\nx-mixed: \r\nX-Bytes: \xe9\r\n\
          Content-Length: 3\r\n\r\nabc",
    );
    let response = client.response();
    assert_eq!(
        json(&response),
        json!({
            "method": "POST",
            "target": "/a?b=c",
            "version": "HTTP/1.1",
            "headers": [
                ["Host", "x"], ["x-MIXED", "1"], ["x-mixed", ""], ["X-Bytes", "\u{e9}"],
                ["Content-Length", "3"],
            ],
            "body_length": 3,
            "body_fnv": fnv1a(b"abc"),
        })
    );

    let recorded = &app.requests()[0];
    assert_eq!(recorded.method, "POST");
    assert_eq!(recorded.target, "/a?b=c");
    assert_eq!(recorded.path(), "/a");
    assert_eq!(recorded.values("X-Mixed"), ["1", ""]);
    assert_eq!(recorded.body, b"abc");
    assert_eq!((recorded.connection, recorded.nth), (1, 1));
    assert!(recorded
        .head
        .starts_with(b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nx-MIXED:  1 \r\n"));
    assert!(recorded.head.ends_with(b"Content-Length: 3\r\n\r\n"));
}

#[test]
fn fnv_is_the_published_one() {
    assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
}

#[test]
fn large_and_chunked_bodies_are_read() {
    let app = EchoApp::start();
    let mut client = Client::new(app.addr());
    let large = "0123456789".repeat(200_000);
    let response = json(&client.request("PUT", "/", &large));
    assert_eq!(response["body_length"], 2_000_000);
    assert_eq!(response["body_fnv"], fnv1a(large.as_bytes()));
    assert_eq!(app.requests()[0].body.len(), 64 * 1024);

    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("3;x=y\r\nabc\r\n");
    client.send("A\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n");
    let response = json(&client.response());
    assert_eq!(response["body_length"], 13);
    assert_eq!(response["body_fnv"], fnv1a(b"abc0123456789"));
    assert_eq!(app.requests()[1].nth, 2);
}

#[test]
fn it_waits_for_the_body_that_it_invites() {
    let app = EchoApp::start();
    let mut client = Client::new(app.addr());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.response().status, 100);
    client.send("ok");
    assert_eq!(json(&client.response())["body_length"], 2);
}

#[test]
fn malformed_bodies_are_refused() {
    let app = EchoApp::start();
    for rest in [
        "Content-Length: x\r\n\r\n",
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
    ] {
        let mut client = Client::new(app.addr());
        client.send(&format!("POST / HTTP/1.1\r\nHost: a\r\n{rest}"));
        let response = client.response();
        assert_eq!(response.status, 400, "{rest}");
        assert_eq!(response.get("connection"), Some("close"));
    }
    assert_eq!(app.request_count(), 0);
}

#[test]
fn special_targets() {
    let app = EchoApp::start();
    let mut client = Client::new(app.addr());

    let response = client.get("/status/418", "");
    assert_eq!(response.status, 418);
    assert_eq!(response.text(), "418 I'm a teapot\n");
    assert_eq!(client.get("/status/204", "").status, 204);
    assert_eq!(client.get("/status/999", "").status, 999);
    assert_eq!(json(&client.get("/status/x", ""))["target"], "/status/x");

    let response = client.get("/accel?to=/internal%3Fa=b", "");
    assert_eq!(response.get("x-accel-redirect"), Some("/internal?a=b"));

    let response = client.get("/setcookie?c=session%3D%3B+Path=/&c=b=2", "");
    assert_eq!(response.all("set-cookie"), ["session=; Path=/", "b=2"]);
    let response = client.get("/setcookie?c=a%0d%0aX:1", "");
    assert_eq!(response.all("set-cookie"), ["a  X:1"]);

    let start = Instant::now();
    assert_eq!(client.get("/slow?ms=40", "").status, 200);
    assert!(start.elapsed() >= Duration::from_millis(40));

    assert_eq!(client.get("/plain", "").text(), "ok\n");
}

#[test]
fn paths_can_be_given_answers() {
    let app = EchoApp::builder()
        .header("/a", "X-One", "1")
        .header("/a", "X-Two", "2")
        .status("/a", 403)
        .body("/page", "<p>")
        .start()
        .expect("start");
    let mut client = Client::new(app.addr());
    let response = client.get("/a?x", "");
    assert_eq!(response.status, 403);
    assert_eq!(
        (response.get("x-one"), response.get("x-two")),
        (Some("1"), Some("2"))
    );
    assert_eq!(json(&response)["target"], "/a?x");
    let response = client.get("/page", "");
    assert_eq!(response.all("content-type"), ["text/html; charset=utf-8"]);
    assert_eq!(response.text(), "<p>");
    assert_eq!(client.get("/b", "").status, 200);
}

#[test]
fn head_has_no_body_and_old_clients_are_closed() {
    let app = EchoApp::start();
    let mut client = Client::new(app.addr());
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head();
    assert_ne!(head.get("content-length"), Some("0"));
    assert_eq!(client.get("/", "").status, 200);

    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(client.response().get("connection"), None);
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().get("connection"), Some("close"));
    assert_eq!(client.end(), End::Closed);
}
