//! The control listener.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use authgear_resolver_double::{Resolver, Store};
use serde_json::Value;

use crate::client::{Client, End};

fn start() -> (Resolver, Client, Client) {
    let resolver = Resolver::builder()
        .store(Store::example())
        .control(SocketAddr::from(([127, 0, 0, 1], 0)))
        .start()
        .expect("start");
    let control = Client::new(resolver.control_addr().expect("an address"));
    let client = Client::new(resolver.addr());
    (resolver, control, client)
}

const ALICE: &str = "Cookie: session=alice.secret\r\n";

#[test]
fn faults_are_set_and_cleared() {
    let (_resolver, mut control, mut client) = start();
    let fault = r#"{"kind":"status","status":500,"times":2}"#;
    assert_eq!(control.request("PUT", "/fault", fault).status, 204);
    let statuses: Vec<u16> = (0..3)
        .map(|_| client.get("/resolve", ALICE).status)
        .collect();
    assert_eq!(statuses, [500, 500, 200]);

    control.request("PUT", "/fault", r#"{"kind":"no_identity"}"#);
    assert_eq!(client.get("/resolve", ALICE).identity(), [""; 0]);
    assert_eq!(control.request("DELETE", "/fault", "").status, 204);
    assert_ne!(client.get("/resolve", ALICE).identity(), [""; 0]);
}

#[test]
fn each_kind_of_fault_can_be_named() {
    for fault in [
        r#"{"kind":"answer","piece":1,"pause_ms":1}"#,
        r#"{"kind":"answer","status":403}"#,
        r#"{"kind":"answer","then":"close","after_ms":5}"#,
        r#"{"kind":"raw","text":"HTTP/1.1 200 OK\r\n\r\n","then":"hang"}"#,
        r#"{"kind":"close"}"#,
        r#"{"kind":"reset"}"#,
        r#"{"kind":"hang"}"#,
        r#"{"kind":"close_mid_header"}"#,
        r#"{"kind":"hang_mid_header","cut":30}"#,
        r#"{"kind":"garbage","then":"keep"}"#,
        r#"{"kind":"headers","remove":["X-Authgear-User-Id"],"add":[["X-Authgear-User-Id",""]]}"#,
        r#"{"kind":"big_headers"}"#,
        r#"{"kind":"big_headers","bytes":5000}"#,
        r#"{"kind":"body","text":"hello"}"#,
        r#"{"kind":"chunked","text":"hello"}"#,
        r#"{"kind":"until_close","text":"hello"}"#,
        r#"{"kind":"early_hints","add":[["Link","</a>"]]}"#,
        r#"{"kind":"connection_close"}"#,
        r#"{"kind":"close_idle"}"#,
        r#"{"kind":"surplus","text":"more"}"#,
    ] {
        let (_resolver, mut control, _) = start();
        let response = control.request("PUT", "/fault", fault);
        assert_eq!(response.status, 204, "{fault}: {}", response.text());
    }
}

#[test]
fn mistakes_are_explained() {
    let (_resolver, mut control, _) = start();
    for (target, body, named) in [
        ("/fault", "", "EOF"),
        ("/fault", r#"{"kind":"sulk"}"#, "unknown kind \"sulk\""),
        ("/fault", r#"{"kind":"status"}"#, "needs \"status\""),
        (
            "/fault",
            r#"{"kind":"close","time":3}"#,
            "unknown field `time`",
        ),
        ("/delay", r#"{"ms":-1}"#, "not a time"),
        ("/sessions", r#"{"users":[]}"#, "expected a map"),
    ] {
        let response = control.request("PUT", target, body);
        assert_eq!(response.status, 400, "{body}");
        assert!(response.text().contains(named), "{}", response.text());
    }
    assert_eq!(control.request("GET", "/", "").status, 404);
    assert_eq!(control.request("POST", "/fault", "{}").status, 404);
}

#[test]
fn delays_are_set() {
    let (_resolver, mut control, mut client) = start();
    control.request("PUT", "/delay", r#"{"ms":30}"#);
    let start = Instant::now();
    client.get("/resolve", "");
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert_eq!(control.request("DELETE", "/delay", "").status, 204);
}

#[test]
fn sessions_are_replaced_and_revoked() {
    let (_resolver, mut control, mut client) = start();
    let mut valid = |lines: &str| {
        let response = client.get("/resolve", lines);
        response.get("x-authgear-session-valid") == Some("true")
    };
    assert!(valid(ALICE));
    assert_eq!(
        control
            .request("DELETE", "/sessions/alice%2Esecret", "")
            .status,
        204
    );
    assert!(!valid(ALICE));
    assert_eq!(
        control
            .request("DELETE", "/sessions/alice.secret", "")
            .status,
        404
    );

    let store = r#"{"users":{"u":{}},"sessions":[{"kind":"bearer","value":"t","user":"u"}]}"#;
    assert_eq!(control.request("PUT", "/sessions", store).status, 204);
    assert!(valid("Authorization: Bearer t\r\n"));
    assert!(!valid("Authorization: Bearer alice-token\r\n"));
}

#[test]
fn requests_and_connections_are_told() {
    let (_resolver, mut control, mut client) = start();
    client.get("/resolve?1", ALICE);
    client.get("/resolve?2", "");
    let json = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");

    let requests = json(control.request("GET", "/requests", "").text());
    assert_eq!(requests[0]["target"], "/resolve?1");
    assert_eq!(requests[0]["headers"][1][1], "session=alice.secret");
    assert_eq!(requests[1]["nth"], 2);

    let stats = json(control.request("GET", "/stats", "").text());
    assert_eq!(stats["connections_accepted"], 1);
    assert_eq!(stats["connections_open"], 1);
    assert_eq!(stats["requests"], 2);

    assert_eq!(control.request("DELETE", "/requests", "").status, 204);
    let requests = json(control.request("GET", "/requests", "").text());
    assert_eq!(requests, Value::Array(Vec::new()));
    assert_eq!(control.request("DELETE", "/connections", "").status, 204);
    assert_eq!(client.end(), End::Closed);
}
