//! The session cache as requests meet it: what is a hit, for how long, and for whom.

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use authgear_integration::{
    get, people, request, Http1, Request, Response, Scripted, Site, SiteBuilder, ALICE,
    ALICE_IDENTITY, BOB, BOB_IDENTITY, CAROL, GONE, INVALID_IDENTITY,
};
use authgear_resolver_double::{jwt, Fault, Resolver, Session, Store, User};

/// A zone, and a way to see what it did.
const ZONE: &str = "
    authgear_cache_zone zone=auth:1m;
    add_header cache $authgear_cache_status always;
    add_header outcome $authgear_outcome always;
    add_header user $authgear_user_id always;
";

/// The application.
const APP: &str = "proxy_pass http://%app%;";

/// A site that caches in each location.
fn builder() -> SiteBuilder {
    Site::builder()
        .http(ZONE)
        .http("authgear_resolve http://%resolver%; authgear_cache auth;")
}

/// One whose only location has these directives too.
fn caching(directives: &str) -> Site {
    builder().location(&format!("{APP} {directives}")).start()
}

fn cache(response: &Response) -> &str {
    response.header("cache").unwrap_or_default()
}

fn outcome(response: &Response) -> &str {
    response.header("outcome").unwrap_or_default()
}

fn user(response: &Response) -> &str {
    response.header("user").unwrap_or_default()
}

/// The cache statuses of a request made this often.
fn statuses<const N: usize>(site: &Site, request: &Request) -> [String; N] {
    std::array::from_fn(|_| cache(&site.send(request.clone())).to_owned())
}

fn alice() -> Request {
    get("/").cookie(ALICE)
}

#[test]
fn the_second_request_is_a_hit_with_the_same_identity() {
    type At = fn(SiteBuilder, &str) -> SiteBuilder;
    let levels: [(&str, At); 3] = [
        ("http", SiteBuilder::http),
        ("server", SiteBuilder::server),
        ("location", |site, conf| {
            site.location(&format!("{conf} proxy_pass http://%app%;"))
        }),
    ];
    for (level, at) in levels {
        let site = at(
            Site::builder().http(ZONE),
            "authgear_cache auth; authgear_resolve http://%resolver%;",
        );
        let site = match level {
            "location" => site.start(),
            _ => site.location("proxy_pass http://%app%;").start(),
        };
        let (first, second) = (site.send(alice()), site.send(alice()));
        assert_eq!((cache(&first), cache(&second)), ("MISS", "HIT"), "{level}");
        for response in [first, second] {
            assert_eq!(outcome(&response), "valid");
            let identity = response.seen().identity();
            let expected = ALICE_IDENTITY.map(|(n, v)| (n.to_owned(), v.to_owned()));
            assert_eq!(identity, expected, "{level}");
        }
        assert_eq!(site.resolver.request_count(), 1, "{level}");
    }
}

#[test]
fn every_status_is_told() {
    let site = builder()
        .server(&format!(
            "location / {{ {APP} authgear_cache_bypass $arg_bypass; }}
             location /old {{ {APP} authgear_cache_valid 100ms; }}
             location /stale {{ {APP} authgear_cache_valid 100ms; authgear_cache_use_stale 1m; }}
             location /refresh {{ {APP} authgear_cache_refresh 100ms; }}
             location /off {{ {APP} authgear_cache off; }}"
        ))
        .expect_in_log("resolver answered")
        .start();
    let status = |path: &str| cache(&site.send(get(path).cookie(ALICE))).to_owned();

    assert_eq!(cache(&site.send(get("/"))), "NONE");
    assert_eq!(status("/"), "MISS");
    assert_eq!(status("/"), "HIT");
    assert_eq!(status("/?bypass=1"), "BYPASS");
    sleep(Duration::from_millis(150));
    assert_eq!(status("/refresh"), "REFRESH");
    site.resolver.wait_for_requests(3, Duration::from_secs(5));
    sleep(Duration::from_millis(150));
    assert_eq!(status("/old"), "EXPIRED");
    sleep(Duration::from_millis(150));
    site.resolver.fault_once(Fault::status(500));
    assert_eq!(status("/stale"), "STALE");
    assert_eq!(status("/off"), "");

    site.resolver.set_delay(Duration::from_millis(200));
    let mut clients = [site.nginx.http1(), site.nginx.http1()];
    for client in &mut clients {
        client.send(get("/").cookie(BOB).head());
    }
    let mut both = clients.map(|mut client| cache(&client.read_response()).to_owned());
    both.sort();
    assert_eq!(both, ["MISS", "WAIT"]);
}

#[test]
fn no_credentials_no_call_and_no_entry() {
    let site = caching("");
    for cookie in [
        "",
        "theme=dark",
        "Session=alice.secret",
        "sessionx=alice.secret",
    ] {
        for _ in 0..2 {
            let response = site.send(get("/").cookie(cookie));
            assert_eq!(cache(&response), "NONE", "{cookie}");
            assert_eq!(response.seen().identity(), [], "{cookie}");
        }
    }
    assert_eq!(site.resolver.request_count(), 0);
}

#[test]
fn a_valid_answer_is_used_for_the_time_of_the_location() {
    let site = builder()
        .server(&format!(
            "authgear_cache_valid 10s;
             location /long {{ {APP} }}
             location /short {{ {APP} authgear_cache_valid valid 700ms; }}
             location /never {{ {APP} authgear_cache_valid 0; }}"
        ))
        .start();
    let status = |path: &str| cache(&site.send(get(path).cookie(ALICE))).to_owned();
    assert_eq!(status("/short"), "MISS");
    assert_eq!(status("/short"), "HIT");
    assert_eq!(status("/long"), "HIT");
    sleep(Duration::from_millis(750));
    assert_eq!(status("/long"), "HIT");
    assert_eq!(status("/short"), "EXPIRED");
    assert_eq!(status("/short"), "HIT");
    assert_eq!(site.resolver.request_count(), 2);
    assert_eq!(status("/never"), "EXPIRED");
    assert_eq!(status("/never"), "EXPIRED");
}

#[test]
fn an_invalid_answer_is_used_for_a_time_of_its_own() {
    let site = builder()
        .server(&format!(
            "location / {{ {APP} authgear_cache_valid invalid 700ms; }}
             location /never {{ {APP} authgear_cache_valid invalid 0; }}"
        ))
        .start();
    for cookie in [GONE, CAROL] {
        let before = site.resolver.request_count();
        let request = get("/").cookie(cookie);
        for expected in ["MISS", "HIT", "HIT"] {
            let response = site.send(request.clone());
            assert_eq!(
                (cache(&response), outcome(&response)),
                (expected, "invalid")
            );
            let identity = response.seen().identity();
            let invalid = INVALID_IDENTITY.map(|(n, v)| (n.to_owned(), v.to_owned()));
            assert_eq!(identity, invalid);
        }
        sleep(Duration::from_millis(750));
        assert_eq!(statuses(&site, &request), ["EXPIRED", "HIT"]);
        assert_eq!(site.resolver.request_count(), before + 2);
        assert_eq!(
            statuses(&site, &get("/never").cookie(cookie)),
            ["EXPIRED"; 2]
        );
    }
}

#[test]
fn a_jwt_is_not_used_past_its_exp() {
    let site = caching("authgear_cache_use_stale 1m;");
    let now = || {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("after 1970")
    };
    // Behind the middle of a second, where rounding would show.
    while now().subsec_millis() < 600 {
        sleep(Duration::from_millis(10));
    }
    let exp = now().as_secs() + 2;
    let token = |jti| jwt(jti, Some(exp as i64));
    let requests = [
        get("/").bearer(&token("alice-bearer")),
        get("/").cookie(&format!("app_access_token={}", token("alice-access"))),
    ];
    for request in &requests {
        assert_eq!(statuses(&site, request), ["MISS", "HIT"]);
    }
    site.resolver.set_fault(Fault::hang());
    let mut hits = 0;
    while now().as_secs() < exp {
        let responses = requests.clone().map(|request| {
            let mut client = site.nginx.http1();
            client.send(request.head());
            client
        });
        for mut client in responses {
            if now().as_secs() < exp && !client.is_silent_for(Duration::from_millis(50)) {
                assert_eq!(cache(&client.read_response()), "HIT");
                hits += 1;
            }
        }
        sleep(Duration::from_millis(20));
    }
    assert!(hits > 10, "{hits} hits before its time");
    site.resolver.clear_fault();
    site.resolver.close_connections();
    for request in requests {
        let response = site.send(request);
        assert_eq!(outcome(&response), "none", "{response:?}");
        assert_ne!(cache(&response), "HIT");
    }
}

#[test]
fn a_jwt_without_a_sound_exp_is_used_as_any_token() {
    let site = caching("");
    for token in [jwt("alice-bearer", None), "alice-bearer".into()] {
        let request = get("/").bearer(&token);
        assert_eq!(statuses(&site, &request), ["MISS", "HIT", "HIT"]);
        assert_eq!(user(&site.send(request)), "alice");
    }
}

#[test]
fn zones_know_nothing_of_each_other() {
    let site = builder()
        .http("authgear_cache_zone zone=other:64k;")
        .server(&format!(
            "location / {{ {APP} }}
             location /other {{ {APP} authgear_cache other; }}"
        ))
        .start();
    assert_eq!(statuses(&site, &alice()), ["MISS", "HIT"]);
    assert_eq!(
        statuses(&site, &get("/other").cookie(ALICE)),
        ["MISS", "HIT"]
    );
    assert_eq!(site.resolver.request_count(), 2);
}

/// A resolver that knows one session, of this user, by every credential.
fn one_user(name: &str) -> Store {
    Store::new()
        .user(User::new(name))
        .session(Session::cookie("same.secret", name))
        .session(Session::bearer("same.secret", name))
}

#[test]
fn two_resolvers_in_one_zone_are_never_mixed() {
    let other = Resolver::start(one_user("of-two"));
    let site = builder()
        .store(one_user("of-one"))
        .place("other", other.addr())
        .server(
            "authgear_cache auth;
             location /one { authgear_resolve http://%resolver%; proxy_pass http://%app%; }
             location /two { authgear_resolve http://%other%; proxy_pass http://%app%; }
             location /path { authgear_resolve http://%resolver%/resolve; proxy_pass http://%app%; }
             location /var {
                 authgear_resolve http://$arg_at/_resolver/resolve; proxy_pass http://%app%;
             }",
        )
        .start();
    for round in 0..3 {
        for (path, expected) in [
            ("/one".to_owned(), "of-one"),
            ("/two".to_owned(), "of-two"),
            ("/path".to_owned(), "of-one"),
            (format!("/var?at={}", site.resolver.addr()), "of-one"),
            (format!("/var?at={}", other.addr()), "of-two"),
        ] {
            for request in [
                get(&path).cookie("session=same.secret"),
                get(&path).bearer("same.secret"),
            ] {
                let response = site.send(request);
                assert_eq!(user(&response), expected, "{path}");
                assert_eq!(response.seen().get("x-authgear-user-id"), Some(expected));
                if round > 0 {
                    assert_eq!(cache(&response), "HIT", "{path}");
                }
            }
        }
    }
    // `/var` and the plain URLs ask the same, by the same name.
    assert_eq!(site.resolver.request_count(), 4);
    assert_eq!(other.request_count(), 2);
}

/// The client's own headers are the same all the time, and say nothing.
#[test]
fn credentials_that_the_configuration_sets_are_never_mixed() {
    let site = builder()
        .server(
            "location /bearer { authgear_set_header Authorization \"Bearer $arg_as\"; proxy_pass http://%app%; }
             location /cookie { authgear_set_header Cookie $arg_as; proxy_pass http://%app%; }
             location /sent { proxy_pass http://%app%; }",
        )
        .store(one_user("of-token").user(User::new("of-cookie")).session(Session::cookie("other.secret", "of-cookie")))
        .start();
    for round in 0..3 {
        for (path, expected) in [
            ("/bearer?as=same.secret", "of-token"),
            ("/bearer?as=", "of-cookie"),
            ("/cookie?as=session=same.secret", "of-token"),
            ("/cookie?as=session=other.secret", "of-cookie"),
            ("/sent", "of-cookie"),
        ] {
            let response = site.send(get(path).cookie("session=other.secret"));
            assert_eq!(user(&response), expected, "{path}");
            assert_eq!(response.seen().get("x-authgear-user-id"), Some(expected));
            if round > 0 {
                assert_eq!(cache(&response), "HIT", "{path}");
            }
        }
    }
}

/// It carries none by design, whatever a client that is no browser puts into it.
#[test]
fn a_preflight_gets_no_identity_from_the_cache() {
    let site = caching("");
    for _ in 0..2 {
        assert_eq!(user(&site.send(alice())), "alice");
    }
    let options = || request("OPTIONS", "/").cookie(ALICE);
    let preflight = options()
        .header("Origin", "https://app.example")
        .header("Access-Control-Request-Method", "GET");
    let response = site.send(preflight);
    assert_eq!((cache(&response), outcome(&response)), ("NONE", "none"));
    assert_eq!(response.seen().identity(), []);
    // Without those headers it is like any other request.
    let response = site.send(options());
    assert_eq!((cache(&response), outcome(&response)), ("HIT", "valid"));
}

#[test]
fn tenants_of_one_resolver_are_never_mixed() {
    let tenants = Store::new()
        .project("one.example", one_user("of-one"))
        .project("two.example", one_user("of-two"));
    let resolver = Resolver::builder()
        .store(tenants)
        .trust_proxy(true)
        .start()
        .expect("a resolver");
    let site = builder()
        .place("resolver", resolver.addr())
        .server(&format!(
            "location /host {{ {APP} authgear_set_header Host $arg_t; }}
             location /forwarded {{
                 {APP}
                 authgear_set_header Host one.example;
                 authgear_set_header X-Forwarded-Host $arg_t;
             }}"
        ))
        .start();
    for round in 0..3 {
        for (path, expected) in [
            ("/host?t=one.example", "of-one"),
            ("/host?t=two.example", "of-two"),
            ("/forwarded?t=two.example", "of-two"),
            ("/forwarded?t=one.example", "of-one"),
            ("/forwarded?t=", "of-one"),
        ] {
            let response = site.send(get(path).cookie("session=same.secret"));
            assert_eq!(user(&response), expected, "{path}");
            if round > 0 {
                assert_eq!(cache(&response), "HIT", "{path}");
            }
        }
    }
}

#[test]
fn the_same_value_in_different_credentials_is_never_mixed() {
    let value = "same.secret";
    let users = [
        "by-session",
        "by-app-session",
        "by-access-token",
        "by-bearer",
    ];
    let store = users
        .into_iter()
        .fold(Store::new(), |store, name| store.user(User::new(name)))
        .session(Session::cookie(value, users[0]))
        .session(Session::app_session(value, users[1]))
        .session(Session::app_access_token(value, users[2]))
        .session(Session::bearer(value, users[3]));
    let site = builder().store(store).location(APP).start();
    let cookie = |name: &str| get("/").cookie(&format!("{name}={value}"));
    let rows = [
        (cookie("session"), users[0]),
        (cookie("app_session"), users[1]),
        (cookie("app_access_token"), users[2]),
        (get("/").bearer(value), users[3]),
        // The first that works wins.
        (cookie("app_session=no; session"), users[0]),
        (cookie("session=no; app_session"), users[1]),
        (cookie("session").bearer("no"), users[0]),
        (cookie("session").bearer(value), users[3]),
        (
            cookie("app_session").header("Cookie", "session=same.secret"),
            users[1],
        ),
    ];
    for round in 0..3 {
        for (request, expected) in &rows {
            let response = site.send(request.clone());
            assert_eq!(user(&response), *expected, "{request:?}");
            let status = if round == 0 { "MISS" } else { "HIT" };
            assert_eq!(cache(&response), status, "{request:?}");
        }
    }
    assert_eq!(site.resolver.request_count(), rows.len());
}

#[test]
fn cookies_with_another_prefix_are_another_credential() {
    let resolver = Resolver::builder()
        .store(one_user("alice"))
        .cookie_prefix("shop_")
        .start()
        .expect("a resolver");
    let site = builder()
        .place("resolver", resolver.addr())
        .server(&format!(
            "location / {{ {APP} authgear_cookie_prefix shop_; }}
             location /plain {{ {APP} }}"
        ))
        .start();
    for (path, cookie, expected) in [
        ("/", "session=same.secret", ""),
        ("/", "shop_session=same.secret", "alice"),
        ("/", "session=same.secret", ""),
        ("/", "SHOP_session=same.secret", ""),
        ("/", "session=other; shop_session=same.secret", "alice"),
        ("/", "shop_session=other; session=same.secret", ""),
        ("/plain", "shop_session=same.secret", ""),
    ] {
        let response = site.send(get(path).cookie(cookie));
        assert_eq!(user(&response), expected, "{path} {cookie}");
    }
}

#[test]
fn bypass_asks_afresh_and_stores() {
    let site = caching("authgear_cache_bypass $arg_fresh $http_x_fresh;");
    let set_role = |role: &str| {
        site.resolver
            .update_store(|store| store.update_user("alice", |user| user.roles = vec![role.into()]))
    };
    let roles = |response: &Response| {
        response
            .seen()
            .get("x-authgear-user-roles")
            .map(str::to_owned)
    };
    assert_eq!(cache(&site.send(alice())), "MISS");
    set_role("one");
    for request in [
        get("/?fresh="),
        get("/?fresh=0"),
        get("/").header("X-Fresh", "0"),
        get("/").header("X-Fresh", ""),
    ] {
        let response = site.send(request.clone().cookie(ALICE));
        assert_eq!(cache(&response), "HIT", "{request:?}");
        assert_eq!(roles(&response).as_deref(), Some("editor,reviewer"));
    }
    for (number, request) in [
        get("/?fresh=1"),
        get("/?fresh=00"),
        get("/?fresh=0").header("X-Fresh", "no-cache"),
    ]
    .into_iter()
    .enumerate()
    {
        let role = format!("role-{number}");
        set_role(&role);
        let response = site.send(request.clone().cookie(ALICE));
        assert_eq!(cache(&response), "BYPASS", "{request:?}");
        assert_eq!(roles(&response).as_ref(), Some(&role));
        let after = site.send(alice());
        assert_eq!((cache(&after), roles(&after)), ("HIT", Some(role)));
    }
    assert_eq!(site.resolver.request_count(), 4);
}

#[test]
fn a_bypass_is_never_answered_from_the_cache() {
    let site = builder()
        .location(&format!(
            "{APP} authgear_cache_bypass $arg_fresh; authgear_cache_use_stale 1m;"
        ))
        .start();
    assert_eq!(cache(&site.send(alice())), "MISS");
    site.resolver.fault_once(Fault::status(500));
    let response = site.send(get("/?fresh=1").cookie(ALICE));
    assert_eq!((response.status, cache(&response)), (503, "BYPASS"));
    // What is there stays as good as it was.
    assert_eq!(cache(&site.send(alice())), "HIT");
}

#[test]
fn answers_that_are_no_verdict_are_never_stored() {
    type Make = fn() -> Fault;
    let faults: [(&str, Make, &str); 9] = [
        ("500", || Fault::status(500), "error"),
        ("404", || Fault::status(404), "error"),
        ("302", || Fault::status(302), "error"),
        ("valid, but 500", || Fault::answer_as(500), "error"),
        ("no identity", Fault::no_identity, "none"),
        ("garbage", Fault::garbage, "error"),
        ("closed", Fault::close, "error"),
        ("half a head", Fault::close_mid_header, "error"),
        (
            "twice valid",
            || Fault::extra_header("X-Authgear-Session-Valid", "true"),
            "error",
        ),
    ];
    let site = caching("authgear_next_upstream off; authgear_cache_valid invalid 1m;");
    let store = faults.iter().enumerate().fold(people(), |store, (n, _)| {
        store.session(Session::cookie(&format!("s{n}.secret"), "alice"))
    });
    site.resolver.set_store(store);
    for (n, (name, fault, expected)) in faults.into_iter().enumerate() {
        let before = site.resolver.request_count();
        let request = get("/").cookie(&format!("session=s{n}.secret"));
        site.resolver.set_fault(fault());
        for _ in 0..3 {
            let response = site.send(request.clone());
            assert_eq!(
                (cache(&response), outcome(&response)),
                ("MISS", expected),
                "{name}"
            );
        }
        site.resolver.clear_fault();
        assert_eq!(statuses(&site, &request), ["MISS", "HIT"], "{name}");
        assert_eq!(site.resolver.request_count(), before + 4, "{name}");
    }
}

#[test]
fn a_failure_leaves_what_is_stored() {
    let site = builder()
        .server(&format!(
            "location / {{ {APP} }}
             location /short {{ {APP} authgear_cache_valid 100ms; }}"
        ))
        .start();
    for fault in [Fault::status(500), Fault::no_identity()] {
        assert_ne!(cache(&site.send(get("/short").cookie(ALICE))), "STALE");
        sleep(Duration::from_millis(150));
        site.resolver.fault_once(fault);
        let response = site.send(get("/short").cookie(ALICE));
        assert_eq!((cache(&response), user(&response)), ("EXPIRED", ""));
        let response = site.send(alice());
        assert_eq!((cache(&response), user(&response)), ("HIT", "alice"));
    }
}

/// Sends all of them before it reads the first answer.
fn at_once(site: &Site, requests: impl IntoIterator<Item = Request>) -> Vec<Response> {
    let clients: Vec<Http1> = requests
        .into_iter()
        .map(|request| {
            let mut client = site.nginx.http1();
            client.send(request.head());
            client
        })
        .collect();
    clients
        .into_iter()
        .map(|mut client| client.read_response())
        .collect()
}

#[test]
fn without_the_lock_each_asks_for_itself() {
    let site = caching("authgear_cache_lock off;");
    site.resolver.set_delay(Duration::from_millis(200));
    for response in at_once(&site, vec![alice(); 10]) {
        assert_eq!((cache(&response), user(&response)), ("MISS", "alice"));
    }
    assert_eq!(site.resolver.request_count(), 10);
    assert_eq!(cache(&site.send(alice())), "HIT");
}

#[test]
fn a_waiter_asks_for_itself_when_its_time_is_up() {
    let site = caching("authgear_cache_lock_timeout 200ms;");
    site.resolver.set_store(
        people().session(Session::cookie("slow.secret", "alice").delay(Duration::from_millis(800))),
    );
    let slow = get("/").cookie("session=slow.secret");
    let mut responses = at_once(&site, vec![slow; 3]);
    responses.sort_by_key(|response| cache(response).to_owned());
    let seen: Vec<_> = responses.iter().map(|r| (cache(r), user(r))).collect();
    assert_eq!(
        seen,
        [("MISS", "alice"), ("WAIT", "alice"), ("WAIT", "alice")]
    );
    assert_eq!(site.resolver.request_count(), 3);
    assert_eq!(
        cache(&site.send(get("/").cookie("session=slow.secret"))),
        "HIT"
    );
}

#[test]
fn streams_of_one_connection_wait_for_each_other() {
    let site = caching("");
    site.resolver.set_delay(Duration::from_millis(100));
    let mut client = site.nginx.http2();
    let pending: Vec<_> = (0..30)
        .map(|n| client.start(get("/").cookie(if n % 3 == 0 { BOB } else { ALICE })))
        .collect();
    for (n, pending) in pending.into_iter().enumerate() {
        let expected = if n % 3 == 0 { "bob" } else { "alice" };
        assert_eq!(user(&client.finish(pending)), expected);
    }
    assert_eq!(site.resolver.request_count(), 2);
}

#[test]
fn the_resolvers_set_cookie_comes_from_a_fresh_answer_only() {
    let cookie = "other=1; Path=/";
    let site = builder()
        .store(people().session(Session::cookie("s.secret", "alice").set_cookie(cookie)))
        .server(&format!(
            "location / {{ {APP} authgear_cache_bypass $arg_fresh; }}
             location /refresh {{ {APP} authgear_cache_refresh 1ms; }}"
        ))
        .start();
    let ask = |path: &str| site.send(get(path).cookie("session=s.secret"));
    site.resolver.set_delay(Duration::from_millis(100));
    let waited = at_once(&site, vec![get("/").cookie("session=s.secret"); 4]);
    site.resolver.set_delay(Duration::ZERO);
    sleep(Duration::from_millis(10));
    let others = ["/", "/refresh", "/?fresh=1", "/"].map(ask);
    for response in waited.iter().chain(&others) {
        let expected: &[&str] = match cache(response) {
            "MISS" | "BYPASS" => &[cookie],
            "WAIT" | "HIT" | "REFRESH" => &[],
            other => panic!("{other}"),
        };
        assert_eq!(response.all("Set-Cookie"), expected, "{response:?}");
    }
    let statuses: Vec<_> = others.iter().map(cache).collect();
    assert_eq!(statuses, ["HIT", "REFRESH", "BYPASS", "HIT"]);
    // The clearing cookie of an invalid session too.
    let gone = [0; 2].map(|_| site.send(get("/").cookie(GONE)));
    assert_eq!(gone.each_ref().map(cache), ["MISS", "HIT"]);
    assert_eq!(
        gone.map(|response| response.all("Set-Cookie").len()),
        [1, 0]
    );
}

#[test]
fn variables_and_redirects_work_on_a_hit_as_on_a_miss() {
    let site = builder()
        .server(
            "authgear_cache auth; authgear_resolve http://%resolver%;
             error_page 403 /denied.html; error_page 404 = @named;
             location / { proxy_pass http://%app%; }
             location /deny { authgear_require role=admin; proxy_pass http://%app%; }
             location = /denied.html {
                 internal; root %prefix%/html;
                 add_header cache $authgear_cache_status always;
                 add_header user $authgear_user_id always;
                 add_header reason $authgear_deny_reason always;
                 add_header session $authgear_session always;
                 add_header resolved $authgear_resolve_status always;
             }
             location /missing { root %prefix%/html; }
             location @named { proxy_pass http://%app%; }
             location /accel { proxy_pass http://%app%; }
             location /page.html { ssi on; root %prefix%/html; }",
        )
        .nginx(|nginx| {
            nginx
                .file("html/denied.html", "denied")
                .file("html/page.html", "<!--# include virtual='/part' -->")
        })
        .start();
    for round in ["MISS", "HIT", "HIT"] {
        // Bob's session is asked for in `/deny` first, alice's in the others.
        let denied = site.send(get("/deny").cookie(BOB));
        assert_eq!((denied.status, cache(&denied)), (403, round));
        assert_eq!(user(&denied), "bob");
        assert_eq!(denied.header("reason"), Some("role"));
        let session = denied.header("session").unwrap_or_default();
        assert!(session.contains("\"bob\""), "{session}");
        let resolved = (round == "MISS").then_some("200");
        assert_eq!(denied.header("resolved"), resolved);
    }
    for (path, times) in [("/missing", 3), ("/accel?to=/x", 3), ("/page.html", 3)] {
        for _ in 0..times {
            let seen = site.send(alice_at(path)).seen();
            let expected = ALICE_IDENTITY.map(|(n, v)| (n.to_owned(), v.to_owned()));
            assert_eq!(seen.identity(), expected, "{path}");
        }
    }
    assert_eq!(site.resolver.request_count(), 2);
}

fn alice_at(path: &str) -> Request {
    get(path).cookie(ALICE)
}

#[test]
fn a_requirement_holds_for_hits_too() {
    let site = builder()
        .server(&format!(
            "location / {{ {APP} }}
             location /user {{ {APP} authgear_require user; }}
             location /role {{ {APP} authgear_require role=editor; }}"
        ))
        .start();
    let started = Instant::now();
    for _ in 0..3 {
        for (cookie, statuses) in [
            (ALICE, [200, 200, 200]),
            (BOB, [200, 403, 403]),
            (GONE, [200, 401, 401]),
        ] {
            let paths = ["/", "/user", "/role"];
            let got = paths.map(|path| site.send(get(path).cookie(cookie)).status);
            assert_eq!(got, statuses, "{cookie}");
        }
    }
    // Later, a refusal would be judged again on a fresh answer.
    if started.elapsed() < Duration::from_secs(1) {
        assert_eq!(site.resolver.request_count(), 3);
    }
}

#[test]
fn pipelined_requests_get_each_their_own() {
    let site = caching("authgear_cache_valid invalid 1m;");
    let mut client = site.nginx.http1();
    let cookies = [ALICE, BOB, GONE, ALICE, "a=b", BOB, ALICE];
    let users = ["alice", "bob", "", "alice", "", "bob", "alice"];
    for _ in 0..20 {
        let wire: Vec<u8> = cookies
            .iter()
            .flat_map(|cookie| get("/").cookie(cookie).head())
            .collect();
        client.send(wire);
        for expected in users {
            assert_eq!(user(&client.read_response()), expected);
        }
    }
    assert_eq!(site.resolver.request_count(), 3);
    assert_eq!(
        site.app_saw(get("/").cookie(BOB)).identity().len(),
        BOB_IDENTITY.len()
    );
}

#[test]
fn a_session_too_large_for_an_entry_is_used_all_the_same() {
    let roles = vec!["r".repeat(400); 9].join(",");
    let resolver = Scripted::answering(authgear_integration::answer(
        200,
        &[
            ("X-Authgear-Session-Valid", "true"),
            ("X-Authgear-User-Id", "alice"),
            ("X-Authgear-User-Roles", &roles),
        ],
    ));
    let site = builder()
        .http("authgear_cache_zone zone=small:32k;")
        .place("resolver", resolver.addr())
        .location(&format!(
            "{APP} authgear_cache small; authgear_buffer_size 16k;"
        ))
        .start();
    for _ in 0..3 {
        let seen = site.app_saw(alice());
        assert_eq!(seen.get("x-authgear-user-roles"), Some(roles.as_str()));
    }
}
