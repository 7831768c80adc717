//! gRPC through `grpc_pass`: a refusal is a gRPC status, and the server gets the identity as
//! metadata.

use authgear_integration::{get, post, request, Grpc, Request, Response, Seen, Site, ALICE, BOB};
use authgear_resolver_double::Fault;

const UNAUTHENTICATED: &str = "16";
const PERMISSION_DENIED: &str = "7";
const UNAVAILABLE: &str = "14";

/// An empty message: not compressed, of length 0.
const MESSAGE: [u8; 5] = [0; 5];

fn site(lines: &str) -> Site {
    let server = Grpc::start();
    Site::builder()
        .place("grpc", server.addr())
        .server(&format!(
            "authgear_resolve http://%resolver%; {lines}
             location / {{ authgear_require session; grpc_pass grpc://%grpc%; }}
             location /admin. {{ authgear_require role=admin; grpc_pass grpc://%grpc%; }}
             location /recent. {{ authgear_require max_age=1h; grpc_pass grpc://%grpc%; }}
             location /open. {{ grpc_pass grpc://%grpc%; }}"
        ))
        .start()
}

fn call(method: &str) -> Request {
    post(method, MESSAGE)
        .header("TE", "trailers")
        .header("Content-Type", "application/grpc")
        .header("User-Agent", "grpc-test/1.0")
}

/// A response of headers only, whose last frame is the first: what gRPC calls Trailers-Only.
fn check_trailers_only(response: &Response, status: &str, message: &str) {
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.all("content-type"), ["application/grpc"]);
    assert_eq!(response.all("grpc-status"), [status]);
    assert_eq!(response.all("grpc-message"), [message]);
    assert_eq!(response.all("cache-control"), ["no-store"]);
    assert_eq!(response.text(), "");
}

#[test]
fn refusals_are_grpc_statuses() {
    let site = site("authgear_login https://auth.example/login;");
    let mut client = site.nginx.http2();
    let mut send = |request: Request| client.request(request);

    let no_session = "A valid session is required.";
    let response = send(call("/a.Service/Method"));
    check_trailers_only(&response, UNAUTHENTICATED, no_session);
    assert_eq!(response.all("www-authenticate"), ["Bearer"]);

    let response = send(call("/a.Service/Method").bearer("wrong"));
    check_trailers_only(&response, UNAUTHENTICATED, no_session);
    let challenge = "Bearer error=\"invalid_token\"";
    assert_eq!(response.all("www-authenticate"), [challenge]);

    let response = send(call("/admin.Service/Method").cookie(ALICE));
    let message = "The user does not have a required role.";
    check_trailers_only(&response, PERMISSION_DENIED, message);
    assert_eq!(response.header("www-authenticate"), None);

    let response = send(call("/recent.Service/Method").bearer("alice-bearer"));
    let message = "A more recent authentication is required.";
    check_trailers_only(&response, UNAUTHENTICATED, message);

    site.resolver.fault_once(Fault::status(500));
    let response = send(call("/open.Service/Method").cookie(ALICE));
    check_trailers_only(&response, UNAVAILABLE, "The session could not be checked.");
}

#[test]
fn the_server_gets_the_identity() {
    let site = site("");
    let mut client = site.nginx.http2();
    for (request, user) in [
        (call("/a.Service/Method").cookie(ALICE), Some("alice")),
        (
            call("/a.Service/Method").bearer("alice-bearer"),
            Some("alice"),
        ),
        (call("/a.Service/Method").cookie(BOB), Some("bob")),
        (call("/open.Service/Method"), None),
    ] {
        let forged = request.header("x-authgear-user-id", "forged");
        let response = client.request(forged);
        assert_eq!(response.status, 200);
        let seen = Seen::parse(&response.body);
        assert_eq!(seen.get("x-authgear-user-id"), user);
        assert_eq!(seen.method, "POST");
    }
}

/// What a stream would have sent is thrown away, and other streams go on.
#[test]
fn a_refused_stream_of_messages_disturbs_no_other() {
    let site = site("client_max_body_size 0;");
    let mut client = site.nginx.http2();
    let messages = || (0..200).map(|_| vec![0; 5_000]);
    let pending: Vec<_> = (0..10)
        .map(|_| {
            let stream = request("POST", "/a.Service/Stream")
                .header("Content-Type", "application/grpc")
                .header("TE", "trailers")
                .chunks(messages());
            let refused = client.start(stream);
            (
                refused,
                client.start(call("/a.Service/Method").cookie(ALICE)),
            )
        })
        .collect();
    for (refused, passed) in pending {
        let refused = client.finish(refused);
        assert_eq!(refused.header("grpc-status"), Some(UNAUTHENTICATED));
        let seen = Seen::parse(&client.finish(passed).body);
        assert_eq!(seen.get("x-authgear-user-id"), Some("alice"));
    }
}

/// gRPC-Web, also over HTTP/1.1, is answered in its own kind.
#[test]
fn each_kind_of_grpc_is_answered_in_kind() {
    let site = site("");
    for (asked, answered) in [
        ("application/grpc", "application/grpc"),
        ("application/grpc+proto", "application/grpc+proto"),
        ("application/grpc; charset=utf-8", "application/grpc"),
        ("application/grpc-web", "application/grpc-web"),
        ("application/grpc-web+proto", "application/grpc-web+proto"),
        ("application/grpc-web-text", "application/grpc-web-text"),
        ("Application/gRPC", "Application/gRPC"),
        ("application/grpc+<x>", "application/grpc"),
    ] {
        let call = || post("/a.Service/Method", MESSAGE).header("Content-Type", asked);
        for response in [site.send(call()), site.nginx.http2().request(call())] {
            assert_eq!(response.status, 200, "{asked}");
            assert_eq!(response.all("content-type"), [answered], "{asked}");
            assert_eq!(response.all("grpc-status"), [UNAUTHENTICATED], "{asked}");
        }
    }
    // And what is none, is not.
    let json = post("/a.Service/Method", "{}").header("Content-Type", "application/json");
    assert_eq!(site.send(json).status, 401);
    assert_eq!(site.send(get("/a.Service/Method")).status, 401);
}
