//! The endpoints for Authgear, for the operator and for monitoring.

use authgear_integration::{
    get, nginx_t, people, post, request, signature, Nginx, Response, Site, ALICE, BOB,
};
use authgear_resolver_double::{Fault, Session};

const SECRET: &str = "whsec_3f1c";

const HTTP: &str = "
    authgear_cache_zone zone=auth:1m;
    authgear_cache_zone zone=other:1m;
    authgear_cache_valid 1h;
    add_header cache $authgear_cache_status always;
";

const SERVER: &str = "
    location /app { authgear_cache auth; authgear_resolve http://%resolver%; proxy_pass http://%app%; }
    location /other { authgear_cache other; authgear_resolve http://%resolver%; proxy_pass http://%app%; }
    location = /webhook { authgear_webhook secret; client_body_buffer_size 64; }
    location = /purge { authgear_purge; }
    location = /status { authgear_status; }
";

fn site() -> Site {
    let mut people = people();
    for n in 0..3 {
        let cookie = format!("alice{n}.secret");
        people = people.session(Session::cookie(&cookie, "alice"));
    }
    Site::builder()
        .store(people)
        .http(HTTP)
        .server(SERVER)
        .nginx(|nginx| nginx.file("secret", &format!("{SECRET}\n")))
        .start()
}

fn cache(site: &Site, path: &str, cookie: &str) -> String {
    let response = site.send(get(path).cookie(cookie));
    response.header("cache").unwrap_or_default().to_owned()
}

/// Asks until the answer is in the cache.
fn store(site: &Site, path: &str, cookie: &str) {
    cache(site, path, cookie);
    assert_eq!(cache(site, path, cookie), "HIT", "{path} {cookie}");
}

fn event(kind: &str, user: &str) -> String {
    format!(
        r#"{{"id":"0001","seq":1,"type":"{kind}","payload":{{"user":{{"id":"{user}"}}}},
           "context":{{"timestamp":1750000000,"user_id":null,"app_id":"accounts"}}}}"#
    )
}

fn webhook(site: &Site, body: &str) -> Response {
    let signature = signature(SECRET, body.as_bytes());
    site.send(post("/webhook", body).header("x-authgear-body-signature", &signature))
}

#[test]
fn events_remove_the_users_entries_from_every_zone() {
    for kind in [
        "user.disabled",
        "user.deleted",
        "user.reauthenticated",
        "user.profile.updated",
        "identity.email.added",
        "user.signed_out",
        "user.something.new",
    ] {
        let site = site();
        for (path, cookie) in [
            ("/app", ALICE),
            ("/app", "session=alice0.secret"),
            ("/other", ALICE),
            ("/app", BOB),
        ] {
            store(&site, path, cookie);
        }
        let response = webhook(&site, &event(kind, "alice"));
        assert_eq!((response.status, response.body.len()), (204, 0), "{kind}");
        assert_eq!(cache(&site, "/app", ALICE), "MISS", "{kind}");
        assert_eq!(
            cache(&site, "/app", "session=alice0.secret"),
            "MISS",
            "{kind}"
        );
        assert_eq!(cache(&site, "/other", ALICE), "MISS", "{kind}");
        assert_eq!(cache(&site, "/app", BOB), "HIT", "{kind}");
    }
}

#[test]
fn events_that_change_nothing_remove_nothing() {
    let site = site();
    store(&site, "/app", ALICE);
    for kind in [
        "user.created",
        "user.authenticated",
        "usage.alert.triggered",
    ] {
        assert_eq!(webhook(&site, &event(kind, "alice")).status, 204, "{kind}");
    }
    assert_eq!(cache(&site, "/app", ALICE), "HIT");
}

#[test]
fn only_authgear_can_send_events() {
    let site = site();
    store(&site, "/app", ALICE);
    let body = event("user.disabled", "alice");
    let good = signature(SECRET, body.as_bytes());
    let other_body = signature(SECRET, b"{}");
    let other_secret = signature("another", body.as_bytes());
    let with_line_end = signature(&format!("{SECRET}\n"), body.as_bytes());
    let cut = &good[..62];
    for wrong in ["", "zz", cut, &other_body, &other_secret, &with_line_end] {
        let request = post("/webhook", body.clone()).header("x-authgear-body-signature", wrong);
        assert_eq!(site.send(request).status, 401, "{wrong}");
    }
    assert_eq!(site.send(post("/webhook", body)).status, 401);
    assert_eq!(cache(&site, "/app", ALICE), "HIT");
    site.nginx
        .wait_for_log("authgear: webhook with a wrong signature");
}

#[test]
fn what_is_no_event_is_refused() {
    let site = site();
    for body in ["", "no json", "[]", "{}", r#"{"type":7}"#] {
        assert_eq!(webhook(&site, body).status, 400, "{body}");
    }
    // An event that names nobody is one all the same.
    assert_eq!(webhook(&site, r#"{"type":"user.disabled"}"#).status, 204);
    for method in ["GET", "PUT", "DELETE"] {
        let response = site.send(request(method, "/webhook"));
        assert_eq!(
            (response.status, response.header("Allow")),
            (405, Some("POST")),
            "{method}"
        );
    }
}

#[test]
fn an_event_may_be_as_large_as_it_needs_wherever_nginx_puts_it() {
    let site = site();
    store(&site, "/app", ALICE);
    let padding = "x".repeat(900_000);
    let body =
        event("user.disabled", "alice").replacen('{', &format!(r#"{{"padding":"{padding}","#), 1);
    let mac = signature(SECRET, body.as_bytes());
    let chunks = body.as_bytes().chunks(50_000).map(<[u8]>::to_vec);
    let chunked = request("POST", "/webhook")
        .chunks(chunks)
        .header("x-authgear-body-signature", &mac);
    assert_eq!(site.send(chunked).status, 204);
    assert_eq!(cache(&site, "/app", ALICE), "MISS");

    let too_large = format!("{body}{}", " ".repeat(200_000));
    assert_eq!(webhook(&site, &too_large).status, 413);
}

#[test]
fn an_operator_removes_users_and_sessions() {
    let site = site();
    for cookie in [ALICE, "session=alice0.secret", "session=alice1.secret", BOB] {
        store(&site, "/app", cookie);
    }
    let purge = |query: &str| {
        site.send(request("DELETE", &format!("/purge?{query}")))
            .status
    };
    assert_eq!(purge("session=alice0"), 204);
    assert_eq!(cache(&site, "/app", ALICE), "HIT");
    assert_eq!(cache(&site, "/app", "session=alice0.secret"), "MISS");

    assert_eq!(purge("user=bob&session=alice1"), 204);
    assert_eq!(cache(&site, "/app", BOB), "MISS");
    assert_eq!(cache(&site, "/app", "session=alice1.secret"), "MISS");
    assert_eq!(cache(&site, "/app", ALICE), "HIT");

    assert_eq!(site.send(post("/purge?user=alice", "")).status, 204);
    assert_eq!(cache(&site, "/app", ALICE), "MISS");

    for nonsense in ["", "user=", "all=1", "user=a&all=1"] {
        assert_eq!(purge(nonsense), 400, "{nonsense}");
    }
    let response = site.send(get("/purge?user=alice"));
    assert_eq!(
        (response.status, response.header("Allow")),
        (405, Some("DELETE, POST"))
    );
}

#[test]
fn the_status_counts_what_happened() {
    let site = site();
    store(&site, "/app", ALICE);
    site.send(get("/app"));
    site.send(
        get("/app")
            .cookie(ALICE)
            .header("X-Authgear-User-Id", "forged"),
    );
    site.resolver.fault_once(Fault::status(500));
    site.send(get("/app").cookie(BOB));
    webhook(&site, &event("user.disabled", "alice"));

    let response = site.send(get("/status"));
    assert_eq!(response.header("Content-Type"), Some("application/json"));
    assert_eq!(response.header("Cache-Control"), Some("no-store"));
    let status: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
    assert_eq!(status["requests"]["valid"], 3);
    assert_eq!(status["requests"]["none"], 1);
    assert_eq!(status["requests"]["error"], 1);
    assert_eq!(status["cache_requests"]["hit"], 2);
    assert_eq!(status["denials"]["error"], 1);
    assert_eq!(status["forged_headers"], 1);
    assert_eq!(status["webhook_events"]["purged"], 1);
    assert_eq!(status["purged_entries"], 1);
    let resolvers = status["resolvers"].as_object().expect("resolvers");
    let resolver = resolvers.values().next().expect("a resolver");
    assert_eq!(resolver["requests"]["valid"], 1);
    assert_eq!(resolver["requests"]["bad_status"], 1);
    assert_eq!(resolver["responses"]["5xx"], 1);
    assert_eq!(status["zones"]["auth"]["entries"]["valid"], 0);
}

#[test]
fn the_status_speaks_prometheus_when_asked_to() {
    let site = site();
    let scrapes = [
        get("/status?format=prometheus"),
        get("/status").header("Accept", "text/plain;version=0.0.4"),
        get("/status").header("Accept", "application/openmetrics-text;version=1.0.0"),
    ];
    for scrape in scrapes {
        let response = site.send(scrape);
        let text = response.text();
        assert!(
            text.contains("nginx_authgear_requests_total{outcome=\"valid\"} 0"),
            "{text}"
        );
    }
    assert_eq!(site.send(get("/status?format=xml")).status, 400);
    let response = site.send(post("/status", ""));
    assert_eq!(
        (response.status, response.header("Allow")),
        (405, Some("GET, HEAD"))
    );
}

#[test]
fn counters_survive_a_reload() {
    let mut site = site();
    site.send(get("/app").cookie(ALICE));
    site.nginx.reload();
    site.send(get("/app").cookie(ALICE));
    let response = site.send(get("/status"));
    let status: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
    assert_eq!(status["requests"]["valid"], 2);
}

#[test]
fn the_trace_context_reaches_the_resolver() {
    let site = site();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let traced = get("/app")
        .cookie(ALICE)
        .header("traceparent", parent)
        .header("tracestate", "a=1");
    site.send(traced);
    let asked = site.resolver.requests();
    assert_eq!(asked[0].header("traceparent"), Some(parent));
    assert_eq!(asked[0].header("tracestate"), Some("a=1"));
}

#[test]
fn endpoints_need_what_they_are_given() {
    let refusal = |location: &str| {
        let conf = format!("location /e {{ {location} }}");
        nginx_t(Nginx::builder().server(&conf).file("empty", "\n")).expect_err("refused")
    };
    assert!(
        refusal("authgear_webhook missing;").contains("\"authgear_webhook\" directive can't read")
    );
    assert!(refusal("authgear_webhook empty;").contains("empty secret"));
    assert!(refusal("authgear_webhook;").contains("invalid number of arguments"));
    assert!(
        refusal("authgear_purge; authgear_status;").contains("conflicts with another directive")
    );
    let outside = nginx_t(Nginx::builder().server("authgear_status;")).expect_err("refused");
    assert!(outside.contains("\"authgear_status\" directive is not allowed here"));
}
