//! The zone: what fits, who goes first, and what a reload leaves.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use authgear_integration::{eventually, get, Http1, Nginx, Request, Site, ALICE, GONE};
use authgear_resolver_double::{Session, Store, User};

const HTTP: &str = "
    authgear_cache_valid 1h; authgear_cache_valid invalid 1h;
    authgear_resolve http://%resolver%; authgear_cache auth;
    add_header cache $authgear_cache_status always;
    add_header user $authgear_user_id always;
";

/// As many sessions as this, each of a user of its own, with what is typical of a user.
fn crowd(count: usize) -> Store {
    (0..count).fold(Store::new(), |store, n| {
        let name = format!("user-{n}");
        store
            .user(User::new(&name).id(&id(n)).roles(["editor", "reviewer"]))
            .session(
                Session::cookie(&format!("s{n}.secret"), &name)
                    .amr(["pwd", "otp", "mfa"])
                    .authenticated_at(1_750_000_000),
            )
    })
}

/// Ids of Authgear are UUIDs.
fn id(n: usize) -> String {
    format!("0b1e2d6c-5f0a-4c57-9a27-{n:012}")
}

fn site(size: &str, sessions: usize) -> Site {
    Site::builder()
        .http(&format!("authgear_cache_zone zone=auth:{size};"))
        .http(HTTP)
        .store(crowd(sessions))
        .location("root %prefix%/html; try_files /file =404;")
        .nginx(|nginx| nginx.file("html/file", "text").log_level("notice"))
        .start()
}

fn session(n: usize) -> Request {
    get("/").cookie(&format!("session=s{n}.secret"))
}

/// A request that must come with the right user, and its cache status.
fn status(client: &mut Http1, n: usize) -> String {
    let response = client.request(session(n));
    assert_eq!(response.header("user"), Some(id(n).as_str()), "session {n}");
    response.header("cache").unwrap_or_default().to_owned()
}

/// Makes entries until the first is evicted; how many there were then.
fn fill(site: &Site, client: &mut Http1) -> usize {
    for n in 0.. {
        assert_eq!(status(client, n), "MISS");
        if site.nginx.error_log().contains("is full") {
            return n;
        }
    }
    unreachable!()
}

#[test]
fn a_full_zone_evicts_the_least_recently_used_and_says_so_once() {
    let site = site("32k", 1000);
    let mut client = site.nginx.http1();
    let fit = fill(&site, &mut client);
    assert!(fit >= 32, "{fit} sessions in 32k");
    // The oldest but the one that went: used again, they stay.
    sleep(Duration::from_millis(1100));
    let old: Vec<usize> = (1..11).collect();
    for &n in &old {
        assert_eq!(status(&mut client, n), "HIT");
    }
    for n in fit + 1..2 * fit - 15 {
        assert_eq!(status(&mut client, n), "MISS");
    }
    for &n in &old {
        assert_eq!(status(&mut client, n), "HIT");
    }
    assert_eq!(status(&mut client, 0), "MISS");
    assert_eq!(status(&mut client, 12), "MISS");
    let log = site.nginx.error_log();
    assert_eq!(log.matches("zone \"auth\" is full").count(), 1, "{log}");
    let line = site.nginx.wait_for_log("is full");
    assert!(line.contains("[warn]"), "{line}");
}

#[test]
fn an_entry_costs_half_a_kilobyte_at_most() {
    let site = site("1m", 4000);
    let mut client = site.nginx.http1();
    let fit = fill(&site, &mut client);
    assert!(fit >= 2048, "{fit} sessions in 1m");
}

#[test]
fn random_tokens_push_no_session_out() {
    let site = site("256k", 100);
    let mut client = site.nginx.http1();
    for n in 0..100 {
        assert_eq!(status(&mut client, n), "MISS");
    }
    let invalid = |n: usize| get("/").cookie(&format!("session=random{n}"));
    let tokens = 2000;
    for n in 0..tokens {
        assert_eq!(client.request(invalid(n)).header("cache"), Some("MISS"));
    }
    for n in 0..100 {
        assert_eq!(status(&mut client, n), "HIT", "session {n}");
    }
    // The last ones are there: no more than a tenth of what fits, an entry in 128 bytes.
    let kept = (0..tokens)
        .rev()
        .take_while(|&n| client.request(invalid(n)).header("cache") == Some("HIT"))
        .count();
    assert!(kept > 10 && kept <= 256 * 1024 / 128 / 10, "{kept} kept");
    // An unknown bearer token leaves nothing at all.
    for _ in 0..2 {
        let response = client.request(get("/").bearer("random"));
        assert_eq!(response.header("cache"), Some("MISS"));
    }
}

#[test]
fn a_full_zone_of_invalid_answers_serves_sessions_that_come_later() {
    let site = site("32k", 40);
    let mut client = site.nginx.http1();
    for n in 0..500 {
        client.request(get("/").cookie(&format!("session=random{n}")));
    }
    for expected in ["MISS", "HIT"] {
        for n in 0..25 {
            assert_eq!(status(&mut client, n), expected, "session {n}");
        }
    }
}

#[test]
fn a_reload_keeps_what_is_stored() {
    let mut site = site("1m", 50);
    let mut client = site.nginx.http1();
    for n in 0..50 {
        assert_eq!(status(&mut client, n), "MISS");
    }
    for _ in 0..3 {
        site.nginx.reload();
        let mut client = site.nginx.http1();
        for n in 0..50 {
            assert_eq!(status(&mut client, n), "HIT");
        }
    }
    assert_eq!(site.resolver.request_count(), 50);
    assert!(!site.nginx.error_log().contains("starts empty"));
}

/// Changes the configuration of a running nginx.
fn edit(nginx: &Nginx, text: &str, by: &str) {
    let path = nginx.prefix().join("nginx.conf");
    let conf = fs::read_to_string(&path).expect("nginx.conf");
    assert!(conf.contains(text), "{text}");
    fs::write(&path, conf.replace(text, by)).expect("nginx.conf");
}

#[test]
fn another_size_starts_afresh() {
    let mut site = site("1m", 50);
    let mut client = site.nginx.http1();
    for n in 0..50 {
        assert_eq!(status(&mut client, n), "MISS");
    }
    for (from, to) in [("1m", "64k"), ("64k", "2m")] {
        edit(
            &site.nginx,
            &format!("zone=auth:{from};"),
            &format!("zone=auth:{to};"),
        );
        site.nginx.reload();
        let mut client = site.nginx.http1();
        for expected in ["MISS", "HIT"] {
            for n in 0..50 {
                assert_eq!(status(&mut client, n), expected, "{to}");
            }
        }
    }
    let log = site.nginx.error_log();
    assert_eq!(
        log.matches("zone \"auth\" has another size").count(),
        2,
        "{log}"
    );
}

#[test]
fn a_zone_that_comes_and_goes_with_a_reload_works() {
    let mut site = site("1m", 10);
    assert_eq!(status(&mut site.nginx.http1(), 1), "MISS");
    edit(
        &site.nginx,
        "authgear_cache auth;",
        "authgear_cache new; authgear_cache_zone zone=new:64k;",
    );
    site.nginx.reload();
    let mut client = site.nginx.http1();
    assert_eq!(status(&mut client, 1), "MISS");
    assert_eq!(status(&mut client, 1), "HIT");
    edit(
        &site.nginx,
        "authgear_cache new; authgear_cache_zone zone=new:64k;",
        "authgear_cache auth;",
    );
    site.nginx.reload();
    assert_eq!(status(&mut site.nginx.http1(), 1), "HIT");
}

#[test]
fn a_refused_configuration_leaves_the_cache_as_it_is() {
    let site = Site::builder()
        .http("authgear_cache_zone zone=auth:1m;")
        .http(HTTP)
        .store(crowd(10))
        .location("root %prefix%/html; try_files /file =404;")
        .nginx(|nginx| nginx.file("html/file", "text"))
        .expect_in_log("[emerg]")
        .start();
    assert_eq!(status(&mut site.nginx.http1(), 1), "MISS");
    for (text, by) in [
        ("authgear_cache auth;", "authgear_cache nowhere;"),
        (
            "authgear_cache nowhere;",
            "authgear_cache_zone zone=new:64k; nonsense;",
        ),
    ] {
        edit(&site.nginx, text, by);
        let before = site.nginx.error_log().matches("[emerg]").count();
        site.nginx.signal(rustix::process::Signal::HUP);
        eventually("the refusal", || {
            (site.nginx.error_log().matches("[emerg]").count() > before).then_some(())
        });
        let mut client = site.nginx.http1();
        assert_eq!(status(&mut client, 1), "HIT");
        assert_eq!(status(&mut client, 2 + before), "MISS");
        assert_eq!(status(&mut client, 2 + before), "HIT");
    }
}

#[test]
fn a_request_that_waits_outlives_a_reload() {
    let mut site = Site::builder()
        .http("authgear_cache_zone zone=auth:1m;")
        .http(HTTP)
        .location("proxy_pass http://%app%;")
        .start();
    site.resolver.set_delay(Duration::from_millis(700));
    let clients: Vec<Http1> = [ALICE, ALICE, ALICE, GONE, GONE]
        .into_iter()
        .map(|cookie| {
            let mut client = site.nginx.http1();
            client.send(get("/").cookie(cookie).head());
            client
        })
        .collect();
    assert!(site.resolver.wait_for_requests(2, Duration::from_secs(5)));
    site.nginx.reload();
    // Another worker's request waits for the old worker's call.
    let mut late = site.nginx.http1();
    late.send(get("/").cookie(ALICE).head());
    for (n, mut client) in clients.into_iter().enumerate() {
        let seen = client.read_response().seen();
        let expected = (n < 3).then_some("alice");
        assert_eq!(seen.get("x-authgear-user-id"), expected);
    }
    let late = late.read_response();
    assert!(
        matches!(late.header("cache"), Some("WAIT" | "HIT")),
        "{late:?}"
    );
    assert_eq!(site.resolver.request_count(), 2);
}
