//! Together with what else an nginx does for a site.

use std::time::Duration;

use authgear_integration::{
    answer, eventually, get, people, post, request, Environment, Request, Response, Scripted, Seen,
    Site, SiteBuilder, ALICE, ALICE_IDENTITY, BOB,
};
use authgear_resolver_double::{fnv1a, EchoApp, Session};

const WEB_SOCKET: [(&str, &str); 4] = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
];

fn alice(path: &str) -> Request {
    get(path).cookie(ALICE)
}

fn bob(path: &str) -> Request {
    get(path).cookie(BOB)
}

fn user(seen: &Seen) -> &str {
    seen.get("x-authgear-user-id").unwrap_or_default()
}

fn is_alice(seen: &Seen) -> bool {
    let identity = seen.identity();
    let pairs = identity.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    pairs.eq(ALICE_IDENTITY)
}

/// An application that agrees to any upgrade, and then sends back what it gets.
fn socket() -> Scripted {
    Scripted::new(|conversation| {
        if conversation.read_request().is_none() {
            return;
        }
        conversation.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        );
        loop {
            let bytes = conversation.read_bytes();
            if bytes.is_empty() || !conversation.send(&bytes) {
                return;
            }
        }
    })
}

#[test]
fn a_web_socket_begins_with_the_identity_and_outlives_a_reload() {
    let app = socket();
    let mut site = Site::builder()
        .place("socket", app.addr())
        .location(
            "authgear_resolve http://%resolver%; authgear_require session;
             proxy_pass http://%socket%; proxy_http_version 1.1;
             proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;",
        )
        .start();

    // Without a session there is no handshake.
    let refused = site.send(get("/").headers(WEB_SOCKET));
    assert_eq!((refused.status, app.connections()), (401, 0));

    let mut client = site.nginx.http1();
    let forged = alice("/").header("X-Authgear-User-Id", "forged");
    client.send(forged.headers(WEB_SOCKET).head());
    let response = client.read_response();
    assert_eq!(response.status, 101);
    assert_eq!(response.header("Upgrade"), Some("websocket"));
    let handshake = app.requests()[0].to_ascii_lowercase();
    for (name, value) in ALICE_IDENTITY {
        assert!(
            handshake.contains(&format!("{name}: {value}\r\n")),
            "{handshake}"
        );
    }
    assert!(!handshake.contains("forged"), "{handshake}");
    assert!(handshake.contains("upgrade: websocket"), "{handshake}");

    let message = vec![b'm'; 100_000];
    client.send(&message);
    assert_eq!(client.read_bytes(message.len()), message);
    if !cannot_tell_processes_apart() {
        site.nginx.reload();
    }
    site.resolver.revoke("alice.secret");
    client.send("after");
    assert_eq!(client.read_bytes(5), b"after");
    assert_eq!(site.resolver.request_count(), 1);
    client.finish_sending();
    assert!(client.is_closed());
}

/// Valgrind shows no titles: processes of the cache look like workers, and workers that leave stay
/// while they have a connection.
fn cannot_tell_processes_apart() -> bool {
    Environment::get().valgrind
}

/// A site that caches the application's answers.
fn caching(directives: &str) -> SiteBuilder {
    Site::builder()
        .http(
            "proxy_cache_path %prefix%/temp/cache keys_zone=answers:1m;
             proxy_cache_valid 200 1h;
             add_header cached $upstream_cache_status;
             authgear_resolve http://%resolver%; authgear_require session;",
        )
        .location(&format!(
            "{directives} proxy_cache answers; proxy_pass http://%app%;"
        ))
}

fn is_cached(response: &Response) -> bool {
    response.header("cached") == Some("HIT")
}

#[test]
fn answers_are_cached_for_each_user() {
    if cannot_tell_processes_apart() {
        return;
    }
    let site = caching("proxy_cache_key $authgear_user_id$request_uri;").start();
    for (request, name, hit) in [
        (alice("/"), "alice", false),
        (bob("/"), "bob", false),
        (alice("/"), "alice", true),
        (bob("/"), "bob", true),
    ] {
        let response = site.send(request);
        assert_eq!(user(&response.seen()), name);
        assert_eq!(is_cached(&response), hit, "{name}");
    }
    assert_eq!(site.app.request_count(), 2);
    // A hit is no way around the requirement.
    assert_eq!(site.send(get("/")).status, 401);
    site.resolver.revoke("alice.secret");
    assert_eq!(site.send(alice("/")).status, 401);
}

#[test]
fn the_resolvers_set_cookie_is_not_in_a_cached_answer() {
    if cannot_tell_processes_apart() {
        return;
    }
    let renewed = Session::cookie("alice.secret", "alice").set_cookie("session=renewed; Path=/");
    let site = caching("proxy_cache_key $request_uri;")
        .store(people().session(renewed))
        .start();
    let first = site.send(alice("/"));
    assert_eq!(first.all("Set-Cookie"), ["session=renewed; Path=/"]);
    let second = site.send(bob("/"));
    assert!(is_cached(&second), "{second:?}");
    assert_eq!(second.all("Set-Cookie"), [""; 0]);
    let third = site.send(alice("/"));
    assert!(is_cached(&third), "{third:?}");
    assert_eq!(third.all("Set-Cookie"), ["session=renewed; Path=/"]);
}

#[test]
fn a_cached_answer_is_updated_in_the_background_as_the_same_user() {
    if cannot_tell_processes_apart() {
        return;
    }
    let site = caching(
        "proxy_cache_key $authgear_user_id$request_uri; proxy_cache_valid 200 1s;
         proxy_cache_use_stale updating; proxy_cache_background_update on; proxy_cache_lock on;",
    )
    .start();
    site.send(alice("/")).seen();
    // nginx counts whole seconds.
    let response = eventually("an answer that is no longer fresh", || {
        let response = site.send(alice("/"));
        (response.header("cached") == Some("STALE")).then_some(response)
    });
    assert!(is_alice(&response.seen()));
    eventually("the update", || {
        (site.app.request_count() == 2).then_some(())
    });
    let updated = eventually("a fresh answer", || {
        Some(site.send(alice("/"))).filter(is_cached)
    });
    assert!(is_alice(&updated.seen()));
    for request in site.app.requests() {
        assert_eq!(request.values("x-authgear-user-id"), ["alice"]);
    }
}

#[test]
fn gzip_compresses_what_the_session_brings() {
    let renewed = Session::cookie("alice.secret", "alice").set_cookie("session=renewed");
    let site = Site::builder()
        .store(people().session(renewed))
        .location(
            "gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;
             authgear_resolve http://%resolver%; proxy_pass http://%app%;",
        )
        .start();
    let plain = site.send(alice("/"));
    let compressed = site.send(alice("/").header("Accept-Encoding", "gzip"));
    assert_eq!(compressed.header("Content-Encoding"), Some("gzip"));
    assert!(compressed.body.starts_with(b"\x1f\x8b"), "{compressed:?}");
    assert!(compressed.body.len() < plain.body.len());
    assert_eq!(compressed.all("Set-Cookie"), ["session=renewed"]);
}

#[test]
fn requests_that_limit_req_delays_are_resolved_after() {
    let site = Site::builder()
        .http("limit_req_zone $binary_remote_addr zone=rate:1m rate=20r/s;")
        .location(
            "limit_req zone=rate burst=10;
             authgear_resolve http://%resolver%; proxy_pass http://%app%;",
        )
        .start();
    let mut clients: Vec<_> = (0..4).map(|_| site.nginx.http1()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        let request = if n % 2 == 0 { alice("/") } else { bob("/") };
        client.send(request.head());
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let name = ["alice", "bob"][n % 2];
        assert_eq!(user(&client.read_response().seen()), name);
    }
    assert_eq!(site.resolver.request_count(), 4);
}

#[test]
fn limit_conn_counts_those_who_wait_for_the_resolver() {
    let site = Site::builder()
        .http("limit_conn_zone $binary_remote_addr zone=clients:1m;")
        .location(
            "limit_conn clients 1; limit_conn_status 429;
             authgear_resolve http://%resolver%; proxy_pass http://%app%;",
        )
        .start();
    site.resolver.set_delay(Duration::from_millis(300));
    let mut first = site.nginx.http1();
    first.send(alice("/").head());
    assert!(site.resolver.wait_for_requests(1, Duration::from_secs(5)));
    assert_eq!(site.send(bob("/")).status, 429);
    assert!(is_alice(&first.read_response().seen()));
    assert_eq!(site.send(bob("/")).status, 200);
}

#[test]
fn a_mirror_gets_the_body_and_the_identity() {
    let mirror = EchoApp::start();
    for buffering in ["on", "off"] {
        mirror.clear_requests();
        let site = Site::builder()
            .place("mirror", mirror.addr())
            .server(&format!(
                "location / {{
                     mirror /mirror; proxy_request_buffering {buffering};
                     authgear_resolve http://%resolver%; proxy_pass http://%app%;
                 }}
                 location /mirror {{
                     internal; authgear_resolve http://%resolver%; proxy_pass http://%mirror%;
                 }}"
            ))
            .start();
        let body = vec![b'b'; 50_000];
        let seen = site.send(post("/", body.clone()).cookie(ALICE)).seen();
        assert!(is_alice(&seen));
        assert_eq!(seen.body_digest, fnv1a(&body));
        assert!(mirror.wait_for_requests(1, Duration::from_secs(5)));
        let copy = &mirror.requests()[0];
        assert_eq!(copy.values("x-authgear-user-id"), ["alice"]);
        assert_eq!(site.resolver.request_count(), 1, "{buffering}");
    }
}

#[test]
fn the_application_that_auth_request_asks_is_told_no_identity() {
    // It is asked before the resolver is.
    let site = Site::with_server(
        "authgear_resolve http://%resolver%;
         location / {
             auth_request /check; auth_request_set $checked $upstream_status;
             proxy_set_header X-Checked $checked; proxy_pass http://%app%;
         }
         location /check { internal; proxy_pass http://%app%/check; proxy_pass_request_body off; }",
    );
    let forged = alice("/").header("X-Authgear-User-Id", "forged");
    let seen = site.app_saw(forged);
    assert!(is_alice(&seen));
    assert_eq!(seen.get("x-checked"), Some("200"));
    let asked = &site.app.requests()[0];
    assert_eq!(asked.target, "/check");
    assert_eq!(asked.values("x-authgear-user-id"), [""; 0]);
    assert_eq!(site.resolver.request_count(), 1);
}

#[test]
fn pages_are_put_together_of_parts_that_know_the_user() {
    let site = Site::builder()
        .nginx(|nginx| nginx.file("html/page.html", "<page>USER</page>"))
        .server(
            "authgear_resolve http://%resolver%; authgear_require session;
             location = /page.html {
                 addition_types *; sub_filter USER $authgear_user_id;
                 add_before_body /before; add_after_body /after;
             }
             location = /before { proxy_pass http://%app%; }
             location = /after { proxy_pass http://%app%; }",
        )
        .start();
    let page = site.send(alice("/page.html")).text();
    assert!(page.contains("<page>alice</page>"), "{page}");
    assert_eq!(site.app.request_count(), 2, "{page}");
    for request in site.app.requests() {
        assert_eq!(request.values("x-authgear-user-id"), ["alice"]);
    }
    assert_eq!(site.resolver.request_count(), 1);
    assert_eq!(site.send(get("/page.html")).status, 401);
}

#[test]
fn threads_read_and_write_files() {
    let text = "x".repeat(300_000);
    let site = Site::builder()
        .nginx(|nginx| {
            nginx
                .file("html/file.txt", &text)
                .main("thread_pool default threads=2;")
        })
        .http("aio threads; aio_write on; sendfile off; output_buffers 2 16k;")
        .server(
            "authgear_resolve http://%resolver%; authgear_require session;
             client_body_in_file_only clean; proxy_max_temp_file_size 10m; proxy_buffers 4 4k;
             location / { proxy_pass http://%app%; }
             location /file.txt { root html; }",
        )
        .start();
    for _ in 0..3 {
        let file = site.send(alice("/file.txt"));
        assert_eq!((file.status, file.text() == text), (200, true));
        let body = vec![b'b'; 400_000];
        let request = request("PUT", "/").chunks([body.clone()]).cookie(ALICE);
        let seen = site.send(request).seen();
        assert!(is_alice(&seen));
        assert_eq!(seen.body_digest, fnv1a(&body));
    }
    assert_eq!(site.send(get("/file.txt")).status, 401);
}

#[test]
fn the_resolver_hears_of_the_real_client() {
    let site = Site::serving(
        "set_real_ip_from 127.0.0.1; real_ip_header X-Real-Address;
         authgear_resolve http://%resolver%; proxy_pass http://%app%;",
    );
    site.send(alice("/").header("X-Real-Address", "192.0.2.7"));
    let asked = &site.resolver.requests()[0];
    assert_eq!(asked.values("X-Forwarded-For"), ["192.0.2.7"]);
}

#[test]
fn the_line_of_a_logged_subrequest_tells_of_the_call() {
    let down = Scripted::answering(answer(503, &[]));
    let broken = Scripted::answering("nonsense\r\n\r\n");
    let site = Site::builder()
        .place("down", down.addr())
        .place("broken", broken.addr())
        .http(
            "upstream second { server %down% max_fails=0; server %resolver% backup; }
             log_subrequest on;",
        )
        .nginx(|nginx| {
            nginx.log_format("$uri $status $upstream_addr $upstream_status $authgear_outcome")
        })
        .server(
            "location / { authgear_resolve http://%resolver%; proxy_pass http://%app%; }
             location /down { authgear_resolve http://%down%; proxy_pass http://%app%; }
             location /broken { authgear_resolve http://%broken%; proxy_pass http://%app%; }
             location /second {
                 authgear_resolve http://second; authgear_next_upstream error http_503;
                 proxy_pass http://%app%;
             }",
        )
        .start();
    let (app, resolver) = (site.app.addr(), site.resolver.addr());
    let (down, broken) = (down.addr(), broken.addr());
    for (path, call, line) in [
        (
            "/path",
            format!("200 {resolver} 200"),
            format!("200 {app} 200 valid"),
        ),
        (
            "/down",
            format!("503 {down} 503"),
            "503 - - error".to_owned(),
        ),
        (
            "/broken",
            format!("502 {broken} 502"),
            "503 - - error".to_owned(),
        ),
        // nginx's 502 for a server that it gives up, and the status of the one that answered.
        (
            "/second",
            format!("200 {down}, {resolver} 502, 200"),
            format!("200 {app} 200 valid"),
        ),
    ] {
        site.send(alice(path));
        site.nginx.wait_for_access(&format!("{path} {line}"));
        let log = site.nginx.access_log();
        assert!(
            log.contains(&format!("/_resolver/resolve {call} ")),
            "{path}: {call}\n{log}"
        );
    }
}
