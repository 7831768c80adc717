//! What goes wrong when it is told to.

use std::time::{Duration, Instant};

use authgear_resolver_double::{Fault, Resolver, Session, Store, Then, User};

use crate::client::{Client, End, Response};
use crate::eventually;

fn alice() -> Resolver {
    Resolver::start(
        Store::new()
            .user(User::new("alice"))
            .session(Session::cookie("s", "alice").amr(["pwd"])),
    )
}

fn ask(client: &mut Client) {
    client.send("GET /resolve HTTP/1.1\r\nHost: a\r\nCookie: session=s\r\n\r\n");
}

fn is_alice(response: &Response) -> bool {
    response.status == 200 && response.all("X-Authgear-User-Id") == ["alice"]
}

/// Asks once with the fault; then whether the connection goes on serving.
fn meet(fault: Fault) -> (Response, bool) {
    let resolver = alice();
    resolver.fault_once(fault);
    let mut client = Client::new(resolver.addr());
    ask(&mut client);
    let response = client.response();
    if client.end() != End::Open {
        return (response, false);
    }
    ask(&mut client);
    assert!(is_alice(&client.response()), "the fault is over");
    (response, true)
}

/// Everything that comes for one request, and how it ends.
fn all_of(fault: Fault) -> (String, End) {
    let resolver = alice();
    resolver.set_fault(fault);
    let mut client = Client::new(resolver.addr());
    ask(&mut client);
    let (bytes, end) = client.rest();
    (String::from_utf8_lossy(&bytes).into_owned(), end)
}

#[test]
fn other_statuses() {
    let (response, goes_on) = meet(Fault::status(500));
    assert_eq!(response.status, 500);
    assert_eq!(response.identity(), [""; 0]);
    assert_eq!(response.text(), "Internal Server Error\n");
    assert!(goes_on);

    let (response, goes_on) = meet(Fault::status(204));
    assert_eq!(
        (response.status, response.get("content-length")),
        (204, None)
    );
    assert!(goes_on);

    let (response, _) = meet(Fault::answer_as(403));
    assert_eq!(response.status, 403);
    assert_eq!(response.get("x-authgear-user-id"), Some("alice"));

    let (response, goes_on) = meet(Fault::no_identity());
    assert_eq!(response.status, 200);
    assert_eq!(response.identity(), [""; 0]);
    assert!(goes_on);
}

#[test]
fn no_answer() {
    assert_eq!(all_of(Fault::close()), (String::new(), End::Closed));
    assert_eq!(all_of(Fault::reset()), (String::new(), End::Reset));
    assert_eq!(all_of(Fault::hang()), (String::new(), End::Open));
}

#[test]
fn half_an_answer() {
    for (fault, expected) in [
        (Fault::close_mid_header(), End::Closed),
        (Fault::hang_mid_header(), End::Open),
        (Fault::close_mid_header().then(Then::Reset), End::Reset),
    ] {
        let (text, end) = all_of(fault);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(!text.contains("\r\n\r\n"), "{text}");
        assert_eq!(end, expected);
    }
    assert_eq!(all_of(Fault::answer().cut(10)).0, "HTTP/1.1 2");
}

#[test]
fn verbatim_bytes() {
    let (text, end) = all_of(Fault::raw("HTTP/1.1 200 OK\r\nX: \u{1}\r\n\r\n"));
    assert_eq!(text, "HTTP/1.1 200 OK\r\nX: \u{1}\r\n\r\n");
    assert_eq!(end, End::Open);
    let (text, end) = all_of(Fault::garbage());
    assert!(text.contains("no HTTP"));
    assert_eq!(end, End::Closed);
}

#[test]
fn one_byte_pieces() {
    let resolver = alice();
    resolver.set_fault(Fault::answer().in_pieces(1, Duration::from_millis(1)));
    let mut client = Client::new(resolver.addr());
    ask(&mut client);
    let first = client.piece();
    assert!(first.len() < 10, "{first:?}");
    let mut all = first;
    while !all.ends_with(b"\r\n\r\n") {
        all.extend(client.piece());
    }
    let text = String::from_utf8(all).expect("text");
    assert!(text.contains("\r\nX-Authgear-User-Id: alice\r\n"), "{text}");
}

#[test]
fn bodies() {
    let (response, goes_on) = meet(Fault::body("hello"));
    assert!(is_alice(&response));
    assert_eq!(response.text(), "hello");
    assert!(goes_on);

    let (response, goes_on) = meet(Fault::chunked("hello"));
    assert!(is_alice(&response));
    assert_eq!(response.get("content-length"), None);
    assert_eq!(response.text(), "hello");
    assert!(goes_on);
    let (text, _) = all_of(Fault::chunked("hello"));
    assert!(text.contains("\r\n2;double=\"; 0\"\r\nhe\r\n3;"), "{text}");
    assert!(text.ends_with("0;last\r\nX-Authgear-User-Id: from-a-trailer\r\nX-Trailer: 1\r\n\r\n"));

    let (response, goes_on) = meet(Fault::until_close("hello"));
    assert!(is_alice(&response));
    assert_eq!(response.get("content-length"), None);
    assert_eq!(response.get("connection"), None);
    assert_eq!(response.text(), "hello");
    assert!(!goes_on);
}

#[test]
fn interim_answers() {
    let resolver = alice();
    resolver.fault_once(Fault::early_hints([
        ("Link", "</a>"),
        ("X-Authgear-User-Id", "x"),
    ]));
    let mut client = Client::new(resolver.addr());
    ask(&mut client);
    let hints = client.response();
    assert_eq!(hints.status, 103);
    assert_eq!(hints.identity(), ["User-Id: x"]);
    assert!(is_alice(&client.response()));
}

#[test]
fn odd_headers() {
    let (response, _) = meet(Fault::big_headers(100 * 1024));
    let size: usize = response
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum();
    assert!(is_alice(&response));
    assert!((100 * 1024..110 * 1024).contains(&size), "{size}");

    let (response, _) = meet(Fault::extra_header("X-Authgear-User-Id", "mallory"));
    assert_eq!(response.all("x-authgear-user-id"), ["alice", "mallory"]);

    let (response, _) = meet(Fault::header("x-authgear-session-valid", "TRUE"));
    assert_eq!(response.all("x-authgear-session-valid"), ["TRUE"]);

    let nothing: [(&str, &str); 0] = [];
    let (response, _) = meet(Fault::headers(["X-Authgear-User-Id"], nothing));
    assert_eq!(response.get("x-authgear-user-id"), None);
    assert_eq!(response.get("x-authgear-session-valid"), Some("true"));

    let resolver = alice();
    resolver.set_fault(Fault::header("X-Authgear-User-Id", b"\xff\x01".to_vec()));
    let mut client = Client::new(resolver.addr());
    ask(&mut client);
    let (bytes, _) = client.rest();
    let line = b"X-Authgear-User-Id: \xff\x01\r\n";
    assert!(bytes.windows(line.len()).any(|part| part == line));
}

#[test]
fn connections_that_end() {
    let (response, goes_on) = meet(Fault::connection_close());
    assert!(is_alice(&response));
    assert_eq!(response.get("connection"), Some("close"));
    assert!(!goes_on);

    let (response, goes_on) = meet(Fault::close_idle());
    assert!(is_alice(&response));
    assert_eq!(response.get("connection"), None);
    assert!(!goes_on);

    let (response, goes_on) = meet(Fault::status(500).then(Then::Close));
    assert_eq!(response.status, 500);
    assert!(!goes_on);
}

#[test]
fn a_pooled_connection_dies_under_the_next_request() {
    let resolver = alice();
    resolver.fault_once(Fault::answer().then(Then::CloseAfter(Duration::from_millis(150))));
    let mut client = Client::new(resolver.addr());
    ask(&mut client);
    assert!(is_alice(&client.response()));
    ask(&mut client);
    let start = Instant::now();
    let (bytes, end) = loop {
        match client.rest() {
            (_, End::Open) if start.elapsed() < Duration::from_secs(5) => {}
            rest => break rest,
        }
    };
    assert_eq!(bytes, b"");
    assert_ne!(end, End::Open);
    assert_eq!(resolver.request_count(), 1);
}

#[test]
fn surplus_bytes() {
    let (text, end) = all_of(Fault::surplus("HTTP/1.1 200 OK\r\n"));
    assert!(text.ends_with("\r\n\r\nHTTP/1.1 200 OK\r\n"));
    assert_eq!(end, End::Open);
}

#[test]
fn faults_queue_up_before_the_standing_one() {
    let resolver = alice();
    resolver.set_fault(Fault::status(500));
    resolver.fault_times(2, Fault::status(502));
    resolver.fault_once(Fault::answer());
    let mut client = Client::new(resolver.addr());
    let mut status = || client.get("/resolve", "").status;
    let statuses: Vec<u16> = (0..5).map(|_| status()).collect();
    assert_eq!(statuses, [502, 502, 200, 500, 500]);
    resolver.clear_fault();
    assert_eq!(status(), 200);
}

#[test]
fn a_session_can_have_a_fault_of_its_own() {
    let resolver = Resolver::start(
        Store::new()
            .user(User::new("alice"))
            .session(Session::cookie("good", "alice"))
            .session(Session::cookie("bad", "alice").fault(Fault::status(500))),
    );
    let mut client = Client::new(resolver.addr());
    assert_eq!(
        client.get("/resolve", "Cookie: session=bad\r\n").status,
        500
    );
    assert!(is_alice(
        &client.get("/resolve", "Cookie: session=good\r\n")
    ));
    resolver.fault_once(Fault::status(502));
    assert_eq!(
        client.get("/resolve", "Cookie: session=bad\r\n").status,
        502
    );
}

#[test]
fn a_client_that_leaves_is_let_go() {
    let resolver = alice();
    for fault in [Fault::hang(), Fault::hang_mid_header()] {
        resolver.set_fault(fault);
        let mut client = Client::new(resolver.addr());
        ask(&mut client);
        eventually("asked", || resolver.connections_open() == 1);
        drop(client);
        eventually("let go", || resolver.connections_open() == 0);
    }
    resolver.clear_fault();
    resolver.set_delay(Duration::from_secs(60));
    let mut client = Client::new(resolver.addr());
    ask(&mut client);
    eventually("asked", || resolver.request_count() == 3);
    drop(client);
    eventually("let go", || resolver.connections_open() == 0);
}
