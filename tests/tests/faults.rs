//! A resolver that misbehaves: the outcome is as designed, and the worker lives.
//!
//! That the worker is still the same process is checked wherever an nginx stops.

use std::time::{Duration, Instant};

use authgear_integration::{answer, eventually, get, Conversation, Response, Scripted, Site};

/// How a conversation ends.
type End = fn(&mut Conversation);

const VALID: [(&str, &str); 2] = [
    ("X-Authgear-Session-Valid", "true"),
    ("X-Authgear-User-Id", "alice"),
];
const HEADERS: &str = "X-Authgear-Session-Valid: true\r\nX-Authgear-User-Id: alice\r\n";

const SITE: &str = "
    authgear_resolve http://%resolver%;
    add_header outcome $authgear_outcome always;
    proxy_pass http://%app%;
";

/// The same, for a resolver that hangs.
fn impatient(resolver: &Scripted) -> Site {
    Site::serving_with(resolver, &format!("{SITE} authgear_read_timeout 500ms;"))
}

fn ask(site: &Site) -> Response {
    site.send(get("/").cookie("session=x"))
}

/// Whether alice is let through.
fn is_alice(response: &Response) -> bool {
    response.status == 200
        && response.header("outcome") == Some("valid")
        && response.seen().get("x-authgear-user-id") == Some("alice")
}

/// Whether the request is denied, and the log says why.
fn is_error(site: &Site, response: &Response) -> bool {
    let log = site.nginx.error_log();
    response.status == 503
        && response.header("outcome") == Some("error")
        && log.lines().any(|line| line.contains("[error]"))
}

/// A resolver that answers every request on every connection with the same bytes.
fn each_connection_serves(answer: &'static str) -> Scripted {
    Scripted::answering(answer.replace("HEADERS", HEADERS))
}

#[test]
fn unusual_answers_are_understood_and_keep_the_connection() {
    let table = [
        ("body with a length", "HTTP/1.1 200 OK\r\nHEADERSContent-Length: 5\r\n\r\nhello"),
        ("chunked", "HTTP/1.1 200 OK\r\nHEADERSTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        (
            "chunked with extensions and trailers",
            "HTTP/1.1 200 OK\r\nHEADERSTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
        ),
        ("103 first", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nHEADERSContent-Length: 0\r\n\r\n"),
        (
            "103 and 102 first",
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nHEADERSContent-Length: 0\r\n\r\n",
        ),
        ("no reason phrase", "HTTP/1.1 200\r\nHEADERSContent-Length: 0\r\n\r\n"),
        ("bare line feeds", "HTTP/1.1 200 OK\nX-Authgear-Session-Valid: true\nX-Authgear-User-Id: alice\nContent-Length: 0\n\n"),
        ("blanks around the value", "HTTP/1.1 200 OK\r\nX-Authgear-Session-Valid:   true  \r\nX-Authgear-User-Id:alice\r\nContent-Length: 0\r\n\r\n"),
    ];
    for (name, answer) in table {
        let resolver = each_connection_serves(answer);
        let site = Site::serving_with(&resolver, SITE);
        for _ in 0..3 {
            let response = ask(&site);
            assert!(is_alice(&response), "{name}: {response:?}");
        }
        assert_eq!(resolver.connections(), 1, "{name}: connections");
    }
}

#[test]
fn answers_that_end_the_connection_are_understood() {
    let table = [
        ("until close", "HTTP/1.1 200 OK\r\nHEADERS\r\nhello"),
        (
            "connection close",
            "HTTP/1.1 200 OK\r\nHEADERSConnection: close\r\nContent-Length: 2\r\n\r\nhi",
        ),
        (
            "HTTP/1.0",
            "HTTP/1.0 200 OK\r\nHEADERSContent-Length: 2\r\n\r\nhi",
        ),
        ("nothing but the head", "HTTP/1.0 200 OK\r\nHEADERS\r\n"),
    ];
    for (name, answer) in table {
        let answer = answer.replace("HEADERS", HEADERS);
        let resolver = Scripted::new(move |conversation| {
            conversation.read_request();
            conversation.send(&answer);
            conversation.close();
            conversation.wait_until_closed();
        });
        let site = Site::serving_with(&resolver, SITE);
        for _ in 0..3 {
            let response = ask(&site);
            assert!(is_alice(&response), "{name}: {response:?}");
        }
        assert_eq!(resolver.connections(), 3, "{name}: connections");
    }
}

#[test]
fn one_byte_at_a_time_is_understood() {
    let chunked = format!(
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n{HEADERS}Transfer-Encoding: chunked\r\n\r\n\
         3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n"
    );
    for wire in [answer(200, &VALID), chunked.into_bytes()] {
        let resolver = Scripted::new(move |conversation| {
            while conversation.read_request().is_some() {
                conversation.send_in_pieces(&wire, 1);
            }
        });
        let site = Site::serving_with(&resolver, SITE);
        assert!(is_alice(&ask(&site)));
        assert!(is_alice(&ask(&site)));
        assert_eq!(resolver.connections(), 1);
    }
}

#[test]
fn a_large_body_is_drained() {
    let mut wire =
        format!("HTTP/1.1 200 OK\r\n{HEADERS}Content-Length: 1048576\r\n\r\n").into_bytes();
    wire.extend(vec![b'x'; 1_048_576]);
    let resolver = Scripted::answering(wire);
    let site = Site::serving_with(&resolver, SITE);
    for _ in 0..3 {
        assert!(is_alice(&ask(&site)));
    }
    assert_eq!(resolver.connections(), 1);
}

#[test]
fn headers_up_to_the_buffer_are_understood() {
    let padding = "p".repeat(3000);
    let resolver = Scripted::answering(answer(200, &[VALID[0], VALID[1], ("Padding", &padding)]));
    let site = Site::serving_with(&resolver, SITE);
    assert!(is_alice(&ask(&site)));

    let padding = "p".repeat(30_000);
    let resolver = Scripted::answering(answer(200, &[VALID[0], VALID[1], ("Padding", &padding)]));
    let larger = format!("{SITE} authgear_buffer_size 32k;");
    let site = Site::serving_with(&resolver, &larger);
    assert!(is_alice(&ask(&site)));
}

#[test]
fn nonsense_is_an_error() {
    let many = "Y: y\r\n".repeat(17_000);
    let long = "z".repeat(100_000);
    let table = [
        ("garbage", "\u{1}\u{2}\u{3} what?\r\n\r\n".to_owned()),
        (
            "text without a status line",
            "hello there, this is a file\r\n\r\n".into(),
        ),
        ("another protocol", "SSH-2.0-OpenSSH_9.2\r\n".into()),
        (
            "a status that is no number",
            format!("HTTP/1.1 2x0 OK\r\n{HEADERS}Content-Length: 0\r\n\r\n"),
        ),
        (
            "100 KB of short headers",
            format!("HTTP/1.1 200 OK\r\n{HEADERS}{many}Content-Length: 0\r\n\r\n"),
        ),
        (
            "one header of 100 KB",
            format!("HTTP/1.1 200 OK\r\n{HEADERS}Long: {long}\r\nContent-Length: 0\r\n\r\n"),
        ),
        (
            "a zero byte in a header",
            format!("HTTP/1.1 200 OK\r\n{HEADERS}Zero: a\0b\r\nContent-Length: 0\r\n\r\n"),
        ),
        (
            "only an interim answer",
            "HTTP/1.1 103 Early Hints\r\n\r\n".into(),
        ),
        (
            "101",
            format!("HTTP/1.1 101 Switching Protocols\r\n{HEADERS}\r\n"),
        ),
    ];
    for (name, wire) in table {
        let resolver = Scripted::new(move |conversation| {
            conversation.read_request();
            conversation.send(&wire);
            conversation.close();
            conversation.wait_until_closed();
        });
        let site = Site::serving_with(&resolver, SITE);
        for _ in 0..2 {
            let response = ask(&site);
            assert!(is_error(&site, &response), "{name}: {response:?}");
        }
        assert_eq!(site.app.request_count(), 0, "{name}: the app was asked");
    }
}

#[test]
fn leaving_early_is_an_error() {
    let partial = format!("HTTP/1.1 200 OK\r\n{HEADERS}");
    let table: [(&str, &str, End); 6] = [
        ("close at once", "", Conversation::close),
        ("reset at once", "", Conversation::reset),
        (
            "close in the status line",
            "HTTP/1.1 2",
            Conversation::close,
        ),
        ("close in the headers", &partial, Conversation::close),
        ("reset in the headers", &partial, Conversation::reset),
        (
            "close after an interim answer",
            "HTTP/1.1 100 Continue\r\n\r\n",
            Conversation::close,
        ),
    ];
    for (name, wire, leave) in table {
        let wire = wire.to_owned();
        let resolver = Scripted::new(move |conversation| {
            conversation.read_request();
            conversation.send(&wire);
            leave(conversation);
        });
        let site = Site::serving_with(&resolver, SITE);
        let response = ask(&site);
        assert!(is_error(&site, &response), "{name}: {response:?}");
    }
}

#[test]
fn hanging_ends_with_the_read_timeout() {
    let partial = format!("HTTP/1.1 200 OK\r\n{HEADERS}");
    for (name, wire) in [
        ("before the answer", ""),
        ("in the status line", "HTTP/1.1"),
        ("in the headers", &partial),
        (
            "after an interim answer",
            "HTTP/1.1 103 Early Hints\r\n\r\n",
        ),
    ] {
        let wire = wire.to_owned();
        let resolver = Scripted::new(move |conversation| {
            conversation.read_request();
            conversation.send(&wire);
            conversation.wait_until_closed();
        });
        let site = impatient(&resolver);
        let start = Instant::now();
        let response = ask(&site);
        assert!(is_error(&site, &response), "{name}: {response:?}");
        assert!(
            start.elapsed() >= Duration::from_millis(450),
            "{name}: too early"
        );
        eventually("the connection to the resolver is closed", || {
            (resolver.open_connections() == 0).then_some(())
        });
    }
}

#[test]
fn dripping_bytes_do_not_extend_the_read_timeout_for_ever() {
    let wire = format!("HTTP/1.1 200 OK\r\n{HEADERS}Drip: ");
    let resolver = Scripted::new(move |conversation| {
        conversation.read_request();
        conversation.send(&wire);
        // One byte each 100 ms or so, until nginx has enough.
        while conversation.send("x") && !conversation.is_left_within(Duration::from_millis(100)) {}
    });
    let site = impatient(&resolver);
    let response = ask(&site);
    assert!(is_error(&site, &response), "{response:?}");
}

#[test]
fn a_body_that_never_ends_or_breaks_off_leaves_the_worker_well() {
    let table: [(&str, &str, End); 10] = [
        (
            "short body, close",
            "Content-Length: 5\r\n\r\nhi",
            Conversation::close,
        ),
        (
            "short body, reset",
            "Content-Length: 5\r\n\r\nhi",
            Conversation::reset,
        ),
        (
            "short body, hang",
            "Content-Length: 5\r\n\r\nhi",
            Conversation::wait_until_closed,
        ),
        (
            "broken chunks",
            "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
            Conversation::wait_until_closed,
        ),
        (
            "a length that is no number",
            "Content-Length: many\r\n\r\nhi",
            Conversation::close,
        ),
        (
            "a negative length",
            "Content-Length: -1\r\n\r\nhi",
            Conversation::close,
        ),
        (
            "two lengths",
            "Content-Length: 1\r\nContent-Length: 2\r\n\r\nhi",
            Conversation::close,
        ),
        (
            "a length and chunks",
            "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            Conversation::close,
        ),
        (
            "an unknown transfer coding",
            "Transfer-Encoding: gzip\r\n\r\nhi",
            Conversation::close,
        ),
        (
            "chunks, close",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhe",
            Conversation::close,
        ),
    ];
    for (name, rest, end) in table {
        let wire = format!("HTTP/1.1 200 OK\r\n{HEADERS}{rest}");
        let resolver = Scripted::new(move |conversation| {
            conversation.read_request();
            conversation.send(&wire);
            end(conversation);
        });
        let site = impatient(&resolver);
        for _ in 0..2 {
            // The verdict is in the headers, which were whole: either is defensible, a mix is not.
            let response = ask(&site);
            let right = is_alice(&response) || is_error(&site, &response);
            assert!(right, "{name}: {response:?}");
        }
        assert_eq!(
            resolver.connections(),
            2,
            "{name}: the connection was used again"
        );
    }
}

#[test]
fn surplus_bytes_never_answer_another_request() {
    let mut wire = answer(200, &[]);
    wire.extend(answer(200, &[VALID[0], ("X-Authgear-User-Id", "mallory")]));
    for interim in ["", "HTTP/1.1 103 Early Hints\r\n\r\n"] {
        let wire = [interim.as_bytes(), &wire].concat();
        let resolver = Scripted::answering(wire);
        let site = Site::serving_with(&resolver, SITE);
        for _ in 0..5 {
            let response = ask(&site);
            assert_ne!(response.header("outcome"), Some("valid"));
            assert!(!response.text().contains("mallory"));
        }
    }
}

#[test]
fn surplus_bytes_that_come_late_never_answer_another_request() {
    let resolver = Scripted::new(|conversation| {
        while conversation.read_request().is_some() {
            conversation.send(answer(200, &[]));
            // By now the connection is in the pool.
            conversation.is_left_within(Duration::from_millis(50));
            conversation.send(answer(200, &[VALID[0], ("X-Authgear-User-Id", "mallory")]));
        }
    });
    let site = Site::serving_with(&resolver, SITE);
    for _ in 0..3 {
        let response = ask(&site);
        assert_eq!(response.header("outcome"), Some("none"));
        eventually("the connection is dropped", || {
            (resolver.open_connections() == 0).then_some(())
        });
    }
}

#[test]
fn a_fault_does_not_stick() {
    let resolver = Scripted::new(|conversation| {
        let faulty = conversation.number % 2 == 1;
        while conversation.read_request().is_some() {
            if faulty {
                conversation.send("nonsense\r\n\r\n");
                return;
            }
            conversation.send(answer(200, &VALID));
        }
    });
    let site = Site::serving_with(&resolver, &format!("{SITE} authgear_keepalive 0;"));
    for _ in 0..3 {
        let response = ask(&site);
        assert!(is_error(&site, &response), "{response:?}");
        assert!(is_alice(&ask(&site)));
    }
}
