//! Old answers: stale ones while the resolver fails, refreshed ones, and those on which nobody is
//! refused.

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use authgear_integration::{
    eventually, get, holds_for, people, Request, Response, Site, SiteBuilder, ALICE, ALICE_BEARER,
    BOB, CAROL,
};
use authgear_resolver_double::{jwt, Fault, Session};

const HTTP: &str = "
    authgear_cache_zone zone=auth:1m; authgear_cache auth; authgear_resolve http://%resolver%;
    add_header cache $authgear_cache_status always;
    add_header user $authgear_user_id always;
    add_header outcome $authgear_outcome always;
    add_header reason $authgear_deny_reason always;
";

fn builder() -> SiteBuilder {
    Site::builder().http(HTTP)
}

fn serving(directives: &str) -> Site {
    builder()
        .location(&format!("{directives} proxy_pass http://%app%;"))
        .start()
}

fn cache(response: &Response) -> &str {
    response.header("cache").unwrap_or_default()
}

fn user(response: &Response) -> &str {
    response.header("user").unwrap_or_default()
}

fn alice() -> Request {
    get("/").cookie(ALICE)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_stale_answer_helps_while_the_resolver_fails_and_no_longer_than_allowed() {
    let site = serving("authgear_cache_valid 200ms; authgear_cache_use_stale 1500ms;");
    assert_eq!(cache(&site.send(alice())), "MISS");
    let stored = Instant::now();
    site.resolver.set_fault(Fault::status(500));
    let mut stale = 0;
    while stored.elapsed() < ms(1600) {
        let response = site.send(alice());
        match cache(&response) {
            "HIT" => assert!(stored.elapsed() < ms(400), "{response:?}"),
            "STALE" => {
                assert_eq!(response.status, 200);
                assert_eq!(response.seen().get("x-authgear-user-id"), Some("alice"));
                stale += 1;
            }
            other => panic!("{other}: {response:?}"),
        }
        sleep(ms(20));
    }
    assert!(stale > 10, "{stale}");
    // A failure is believed for a second: it is not asked for each of them.
    let calls = site.resolver.request_count();
    assert!(
        (2..=4).contains(&calls),
        "{calls} calls for {stale} stale answers"
    );
    sleep(stored.elapsed().saturating_sub(ms(1700)) + ms(200));
    for _ in 0..3 {
        let response = site.send(alice());
        assert_eq!((response.status, user(&response)), (503, ""));
    }
    site.resolver.clear_fault();
    let fresh = eventually("the resolver is asked again", || {
        let response = site.send(alice());
        (response.status == 200).then_some(response)
    });
    assert_eq!(user(&fresh), "alice");
}

#[test]
fn each_kind_of_failure_makes_an_old_answer_do() {
    let faults: [(&str, Fault); 7] = [
        ("500", Fault::status(500)),
        ("404", Fault::status(404)),
        ("closed", Fault::close()),
        ("garbage", Fault::garbage()),
        ("hangs", Fault::hang()),
        ("hangs in the head", Fault::hang_mid_header()),
        ("twice", Fault::extra_header("X-Authgear-User-Id", "bob")),
    ];
    let site = serving(
        "authgear_cache_valid 50ms; authgear_cache_use_stale 1m; authgear_read_timeout 200ms;",
    );
    for (n, (name, fault)) in faults.into_iter().enumerate() {
        let value = format!("s{n}.secret");
        site.resolver
            .set_store(people().session(Session::cookie(&value, "alice")));
        let request = get("/").cookie(&format!("session={value}"));
        assert_eq!(cache(&site.send(request.clone())), "MISS");
        sleep(ms(60));
        site.resolver.set_fault(fault);
        for _ in 0..2 {
            let response = site.send(request.clone());
            assert_eq!(
                (cache(&response), user(&response)),
                ("STALE", "alice"),
                "{name}"
            );
        }
        site.resolver.clear_fault();
    }
}

#[test]
fn a_stopped_resolver_makes_an_old_answer_do() {
    let site = serving("authgear_cache_valid 50ms; authgear_cache_use_stale 1m;");
    assert_eq!(cache(&site.send(alice())), "MISS");
    let Site {
        nginx,
        resolver,
        app: _app,
    } = site;
    resolver.stop();
    sleep(ms(60));
    let response = nginx.send(alice());
    assert_eq!((cache(&response), user(&response)), ("STALE", "alice"));
    let response = nginx.send(get("/").cookie(BOB));
    assert_eq!((response.status, cache(&response)), (503, "MISS"));
}

#[test]
fn without_use_stale_a_failure_is_a_failure() {
    let site = serving("authgear_cache_valid 50ms;");
    assert_eq!(cache(&site.send(alice())), "MISS");
    sleep(ms(60));
    site.resolver.set_fault(Fault::status(500));
    for _ in 0..2 {
        let response = site.send(alice());
        assert_eq!((response.status, cache(&response)), (503, "EXPIRED"));
    }
    assert_eq!(site.resolver.request_count(), 3);
}

#[test]
fn an_answer_that_said_invalid_is_never_stale() {
    let site = serving(
        "authgear_cache_valid 50ms; authgear_cache_valid invalid 50ms;
         authgear_cache_use_stale 1m;",
    );
    let carol = get("/").cookie(CAROL);
    assert_eq!(site.send(carol.clone()).header("outcome"), Some("invalid"));
    // And it takes the place of a valid one.
    assert_eq!(site.send(alice()).header("outcome"), Some("valid"));
    sleep(ms(60));
    site.resolver
        .update_store(|store| store.update_user("alice", |user| user.disabled = true));
    assert_eq!(site.send(alice()).header("outcome"), Some("invalid"));
    sleep(ms(60));
    site.resolver.set_fault(Fault::status(500));
    for request in [carol, alice()] {
        for _ in 0..2 {
            let response = site.send(request.clone());
            assert_eq!((response.status, cache(&response)), (503, "EXPIRED"));
        }
    }
}

#[test]
fn an_answer_without_a_session_is_no_failure() {
    let site = serving("authgear_cache_valid 50ms; authgear_cache_use_stale 1m;");
    let bearer = get("/").bearer(ALICE_BEARER);
    assert_eq!(site.send(bearer.clone()).header("outcome"), Some("valid"));
    site.resolver.revoke(ALICE_BEARER);
    sleep(ms(60));
    for _ in 0..5 {
        let response = site.send(bearer.clone());
        assert_eq!(
            (cache(&response), response.header("outcome")),
            ("EXPIRED", Some("none"))
        );
    }
}

#[test]
fn a_stale_answer_to_a_jwt_ends_with_its_exp() {
    let now = || {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.expect("after 1970")
    };
    let site = serving("authgear_cache_valid 100ms; authgear_cache_use_stale 1m;");
    while now().subsec_millis() < 600 {
        sleep(ms(10));
    }
    let exp = now().as_secs() + 2;
    let request = get("/").bearer(&jwt(ALICE_BEARER, Some(exp as i64)));
    assert_eq!(user(&site.send(request.clone())), "alice");
    site.resolver.set_fault(Fault::status(500));
    sleep(ms(150));
    let mut stale = 0;
    loop {
        let sent = now();
        let response = site.send(request.clone());
        if sent.as_secs() >= exp {
            assert_eq!(response.status, 503, "{response:?}");
            break;
        }
        stale += usize::from(cache(&response) == "STALE");
        sleep(ms(10));
    }
    assert!(stale > 5, "{stale}");
}

#[test]
fn an_old_answer_is_used_at_once_and_refreshed_once() {
    let site = serving("authgear_cache_refresh 200ms;");
    assert_eq!(cache(&site.send(alice())), "MISS");
    sleep(ms(250));
    site.resolver
        .update_store(|store| store.update_user("alice", |user| user.roles = vec!["new".into()]));
    site.resolver.set_delay(ms(1500));
    let asked = Instant::now();
    let statuses: Vec<String> = (0..20)
        .map(|_| {
            let response = site.send(alice());
            let seen = response.seen();
            assert_eq!(seen.get("x-authgear-user-roles"), Some("editor,reviewer"));
            cache(&response).to_owned()
        })
        .collect();
    assert!(
        asked.elapsed() < ms(1400),
        "{:?} for twenty",
        asked.elapsed()
    );
    assert_eq!(statuses[0], "REFRESH");
    assert!(
        statuses[1..].iter().all(|status| status == "HIT"),
        "{statuses:?}"
    );
    eventually("the new role", || {
        let seen = site.app_saw(alice());
        (seen.get("x-authgear-user-roles") == Some("new")).then_some(())
    });
    assert_eq!(site.resolver.request_count(), 2);
}

#[test]
fn nobody_asks_nothing_is_refreshed() {
    let site = serving("authgear_cache_refresh 50ms; authgear_cache_valid invalid 1m;");
    for cookie in [ALICE, BOB, CAROL] {
        site.send(get("/").cookie(cookie));
    }
    assert!(holds_for(ms(400), || site.resolver.request_count() == 3));
    // Nor what is invalid, even if somebody asks.
    assert_eq!(cache(&site.send(get("/").cookie(CAROL))), "HIT");
    assert!(holds_for(ms(100), || site.resolver.request_count() == 3));
}

#[test]
fn a_refresh_that_fails_leaves_the_answer_and_is_not_tried_at_once_again() {
    let site = serving("authgear_cache_refresh 100ms; authgear_cache_valid 2s;");
    assert_eq!(cache(&site.send(alice())), "MISS");
    let stored = Instant::now();
    sleep(ms(150));
    site.resolver.set_fault(Fault::status(500));
    let mut refreshes = 0;
    while stored.elapsed() < ms(1000) {
        let response = site.send(alice());
        assert_eq!(user(&response), "alice");
        refreshes += usize::from(cache(&response) == "REFRESH");
        sleep(ms(20));
    }
    assert_eq!((refreshes, site.resolver.request_count()), (1, 2));
    site.resolver.clear_fault();
    let again = eventually("another refresh", || {
        let response = site.send(alice());
        (cache(&response) != "HIT").then_some(response)
    });
    assert_eq!((cache(&again), user(&again)), ("REFRESH", "alice"));
    site.nginx.wait_for_log("not refreshed");
}

#[test]
fn the_client_of_a_refresh_may_leave() {
    let site = serving("authgear_cache_refresh 100ms;");
    assert_eq!(cache(&site.send(alice())), "MISS");
    sleep(ms(150));
    site.resolver.set_delay(ms(200));
    let mut client = site.nginx.http1();
    client.send(alice().head());
    assert_eq!(cache(&client.read_response()), "REFRESH");
    client.reset();
    eventually("a fresh answer", || {
        sleep(ms(50));
        let response = site.send(alice());
        assert_eq!(user(&response), "alice");
        (site.resolver.request_count() > 1 && cache(&response) == "HIT").then_some(())
    });
    assert!(site.resolver.request_count() <= 3);
}

/// Makes alice's roles these.
fn give(site: &Site, roles: &[&str]) {
    site.resolver.update_store(|store| {
        store.update_user("alice", |user| {
            user.roles = roles.iter().map(|role| (*role).to_owned()).collect();
        })
    });
}

#[test]
fn a_new_role_works_at_once() {
    let site = builder()
        .server(
            "location / { proxy_pass http://%app%; }
             location /admin { authgear_require role=admin; proxy_pass http://%app%; }",
        )
        .start();
    let admin = || get("/admin").cookie(ALICE);
    assert_eq!(site.send(alice()).status, 200);
    // An answer of this second is good enough to refuse.
    let refused = site.send(admin());
    assert_eq!((refused.status, cache(&refused)), (403, "HIT"));
    assert_eq!(site.resolver.request_count(), 1);

    sleep(ms(1100));
    let refused = site.send(admin());
    assert_eq!((refused.status, cache(&refused)), (403, "EXPIRED"));
    assert_eq!(site.resolver.request_count(), 2);

    sleep(ms(1100));
    give(&site, &["admin"]);
    let response = site.send(admin());
    assert_eq!((response.status, cache(&response)), (200, "EXPIRED"));
    assert_eq!(response.seen().get("x-authgear-user-roles"), Some("admin"));
    assert_eq!(site.resolver.request_count(), 3);
    let response = site.send(admin());
    assert_eq!((response.status, cache(&response)), (200, "HIT"));

    // A role that is gone works until the answer's time is over: it is no refusal.
    give(&site, &[]);
    assert_eq!(site.send(admin()).status, 200);
    assert_eq!(site.resolver.request_count(), 3);
}

#[test]
fn many_refusals_at_once_ask_once() {
    let site = builder()
        .server(
            "location / { proxy_pass http://%app%; }
             location /admin { authgear_require role=admin; proxy_pass http://%app%; }",
        )
        .start();
    assert_eq!(site.send(alice()).status, 200);
    sleep(ms(1100));
    give(&site, &["admin"]);
    site.resolver.set_delay(ms(100));
    let clients: Vec<_> = (0..30)
        .map(|_| {
            let mut client = site.nginx.http1();
            client.send(get("/admin").cookie(ALICE).head());
            client
        })
        .collect();
    for mut client in clients {
        assert_eq!(client.read_response().status, 200);
    }
    assert_eq!(site.resolver.request_count(), 2);
}

#[test]
fn a_refusal_stands_when_the_resolver_fails() {
    let site = serving("authgear_require role=admin;");
    assert_eq!(site.send(alice()).status, 403);
    sleep(ms(1100));
    site.resolver.set_fault(Fault::status(500));
    for _ in 0..2 {
        let response = site.send(alice());
        assert_eq!((response.status, user(&response)), (403, "alice"));
        assert_eq!(response.header("reason"), Some("role"));
    }
}

#[test]
fn a_reenabled_user_is_let_in_at_once() {
    let site = serving("authgear_require session; authgear_cache_valid invalid 1m;");
    let carol = || get("/").cookie(CAROL);
    assert_eq!(site.send(carol()).status, 401);
    assert_eq!(cache(&site.send(carol())), "HIT");
    sleep(ms(1100));
    site.resolver
        .update_store(|store| store.update_user("carol", |user| user.disabled = false));
    let response = site.send(carol());
    assert_eq!((response.status, user(&response)), (200, "carol"));
    assert_eq!(cache(&site.send(carol())), "HIT");
    assert_eq!(site.resolver.request_count(), 2);
}

#[test]
fn max_age_is_judged_when_the_answer_is_used() {
    let now = || {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.expect("after 1970").as_secs() as i64
    };
    let site = serving("authgear_require max_age=3s;");
    let since = now();
    site.resolver.update_store(|store| {
        store.update_session("alice.secret", |session| {
            session.authenticated_at = Some(since);
        })
    });
    assert_eq!(site.send(alice()).status, 200);
    let refused = eventually("it is too long ago", || {
        sleep(ms(100));
        let response = site.send(alice());
        (response.status != 200).then_some(response)
    });
    assert!(now() - since >= 3, "refused {} s after", now() - since);
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("reason"), Some("max_age"));
    let challenge = refused.header("WWW-Authenticate").unwrap_or_default();
    assert!(
        challenge.contains("max_age=\"3\"") || challenge.contains("max_age=3"),
        "{challenge}"
    );
    // Once, and then once more for the refusal.
    assert_eq!(site.resolver.request_count(), 2);

    // Reauthentication keeps the cookie.
    sleep(ms(1100));
    site.resolver.update_store(|store| {
        store.update_session("alice.secret", |session| {
            session.authenticated_at = Some(now());
        })
    });
    assert_eq!(site.send(alice()).status, 200);
}

#[test]
fn a_hanging_refresh_holds_no_other_request_up() {
    let site = serving("authgear_cache_refresh 100ms; authgear_read_timeout 2s;");
    assert_eq!(cache(&site.send(alice())), "MISS");
    sleep(ms(150));
    site.resolver.set_fault(Fault::hang());
    let mut http2 = site.nginx.http2();
    let asked = Instant::now();
    let statuses = [(); 5].map(|()| cache(&http2.request(alice())).to_owned());
    assert_eq!(statuses, ["REFRESH", "HIT", "HIT", "HIT", "HIT"]);
    assert_eq!(cache(&site.send(alice())), "HIT");
    assert!(asked.elapsed() < ms(1500), "{:?}", asked.elapsed());
}

#[test]
fn a_refresh_that_finds_no_session_is_not_tried_at_once_again() {
    let site = serving("authgear_cache_refresh 100ms; authgear_cache_valid 800ms;");
    let bearer = || get("/").bearer(ALICE_BEARER);
    assert_eq!(cache(&site.send(bearer())), "MISS");
    let stored = Instant::now();
    site.resolver.revoke(ALICE_BEARER);
    sleep(ms(150));
    let mut refreshes = 0;
    while stored.elapsed() < ms(700) {
        refreshes += usize::from(cache(&site.send(bearer())) == "REFRESH");
        sleep(ms(10));
    }
    assert_eq!(refreshes, 1);
    eventually("the end of the session", || {
        (site.send(bearer()).header("outcome") == Some("none")).then_some(())
    });
    assert!(stored.elapsed() < ms(1500), "{:?}", stored.elapsed());
}
