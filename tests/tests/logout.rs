//! Log-outs and log-ins that pass through this nginx take the session's entries with them.

use std::thread::sleep;
use std::time::Duration;

use authgear_integration::{
    get, people, post, Request, Response, Site, SiteBuilder, ALICE, ALICE_ACCESS_TOKEN,
    ALICE_APP_SESSION, ALICE_BEARER, BOB, GONE,
};
use authgear_resolver_double::{Resolver, Session};

const HTTP: &str = "
    authgear_cache_zone zone=auth:1m;
    authgear_cache_valid 1h; authgear_cache_valid invalid 1h;
    add_header cache $authgear_cache_status always;
    add_header user $authgear_user_id always;
    add_header outcome $authgear_outcome always;
";

/// The configuration of design.md: the cache in `server {}`, Authgear's own pages in `location /`.
const SERVER: &str = "
    authgear_cache auth;
    location / { proxy_pass http://%resolver%; proxy_set_header Host $host; }
    location /app { authgear_resolve http://%resolver%; proxy_pass http://%app%; }
    location /setcookie { proxy_pass http://%app%; }
";

fn builder() -> SiteBuilder {
    Site::builder().http(HTTP)
}

fn app(cookie: &str) -> Request {
    get("/app").cookie(cookie)
}

fn cache(response: &Response) -> &str {
    response.header("cache").unwrap_or_default()
}

fn user(response: &Response) -> &str {
    response.header("user").unwrap_or_default()
}

/// Asks twice, so that the answer is in the cache.
fn store(site: &Site, request: &Request) {
    site.send(request.clone());
    assert_eq!(cache(&site.send(request.clone())), "HIT", "{request:?}");
}

/// The target of the echo application that sets this cookie.
fn setcookie(cookie: &str) -> String {
    format!(
        "/setcookie?c={}",
        cookie.replace(' ', "%20").replace(';', "%3B")
    )
}

#[test]
fn a_logout_through_this_server_works_at_once() {
    let site = builder().server(SERVER).start();
    for cookie in [ALICE, BOB] {
        store(&site, &app(cookie));
    }
    let out = site.send(get("/logout").cookie(ALICE));
    assert!(
        out.header("Set-Cookie")
            .is_some_and(|c| c.starts_with("session=;")),
        "{out:?}"
    );
    let response = site.send(app(ALICE));
    assert_eq!(
        (cache(&response), response.header("outcome")),
        ("MISS", Some("invalid"))
    );
    // Others are not touched.
    assert_eq!(cache(&site.send(app(BOB))), "HIT");
}

#[test]
fn a_login_through_this_server_works_at_once() {
    let site = builder().server(SERVER).start();
    let callback = "redirect_uri=http://site.example/app";
    let sign_in = |cookie: &str| {
        let form = post("/login", format!("user=bob&{callback}"))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .cookie(cookie);
        let response = site.send(form);
        assert_eq!(response.status, 302, "{response:?}");
        let cookie = response.header("Set-Cookie")?.split(';').next()?;
        Some(cookie.to_owned())
    };
    // With no session, with one that is over, and with someone else's.
    for before in ["", GONE, ALICE] {
        if !before.is_empty() {
            store(&site, &app(before));
        }
        let cookie = sign_in(before).expect("a session");
        let response = site.send(app(&cookie));
        assert_eq!(
            (cache(&response), user(&response)),
            ("MISS", "bob"),
            "{before}"
        );
    }
    // Alice's was given up for bob's: it is asked for anew, and is still good.
    let response = site.send(app(ALICE));
    assert_eq!((cache(&response), user(&response)), ("MISS", "alice"));
}

#[test]
fn each_of_authgears_cookies_counts_and_no_other() {
    let site = builder().server(SERVER).start();
    for (set_cookie, is_authgears) in [
        ("session=new; Path=/", true),
        ("session=; Max-Age=0", true),
        ("session", true),
        ("app_session=new", true),
        ("app_access_token=new; HttpOnly", true),
        ("Session=new", false),
        ("session_id=new", false),
        ("xsession=new", false),
        ("other=session=1", false),
        ("theme=dark; session=1", false),
    ] {
        store(&site, &app(ALICE));
        site.send(get(&setcookie(set_cookie)).cookie(ALICE));
        let expected = if is_authgears { "MISS" } else { "HIT" };
        assert_eq!(cache(&site.send(app(ALICE))), expected, "{set_cookie}");
        if is_authgears {
            // Nothing about this session is stored for two seconds.
            assert_eq!(cache(&site.send(app(ALICE))), "MISS");
            sleep(Duration::from_millis(2100));
        }
    }
}

#[test]
fn each_credential_is_forgotten() {
    let site = builder().server(SERVER).start();
    let requests = [
        app(ALICE_APP_SESSION),
        app(ALICE_ACCESS_TOKEN),
        get("/app").bearer(ALICE_BEARER),
        app(&format!("{ALICE_APP_SESSION}; {ALICE_ACCESS_TOKEN}")),
        // The session cookie names the session: with others or without.
        app(&format!("{ALICE}; {ALICE_APP_SESSION}")),
    ];
    let logout = [
        get(&setcookie("app_session=")).cookie(ALICE_APP_SESSION),
        get(&setcookie("app_access_token=")).cookie(ALICE_ACCESS_TOKEN),
        get(&setcookie("session=")).bearer(ALICE_BEARER),
        get(&setcookie("app_session="))
            .cookie(&format!("{ALICE_APP_SESSION}; {ALICE_ACCESS_TOKEN}")),
        get(&setcookie("session=")).cookie(ALICE),
    ];
    for request in &requests {
        store(&site, request);
    }
    store(&site, &app(BOB));
    for (request, logout) in requests.iter().zip(logout) {
        site.send(logout);
        assert_eq!(cache(&site.send(request.clone())), "MISS", "{request:?}");
    }
    assert_eq!(cache(&site.send(app(BOB))), "HIT");
}

#[test]
fn the_logout_of_one_session_leaves_the_users_others() {
    let site = builder()
        .store(
            people()
                .session(Session::cookie("one.secret", "alice"))
                .session(Session::cookie("two.secret", "alice")),
        )
        .server(SERVER)
        .start();
    for cookie in ["session=one.secret", "session=two.secret"] {
        store(&site, &app(cookie));
    }
    site.send(get("/logout").cookie("session=one.secret"));
    assert_eq!(user(&site.send(app("session=one.secret"))), "");
    assert_eq!(cache(&site.send(app("session=two.secret"))), "HIT");
}

#[test]
fn a_cookie_that_the_resolver_brought_removes_nothing() {
    let site =
        builder()
            .store(people().session(
                Session::cookie("s.secret", "alice").set_cookie("session=s.secret; Path=/"),
            ))
            .server(SERVER)
            .start();
    // Invalid sessions are cleared by the resolver, and that one has its cookie set anew.
    for cookie in [GONE, "session=s.secret"] {
        let first = site.send(app(cookie));
        assert_eq!((cache(&first), first.all("Set-Cookie").len()), ("MISS", 1));
        for _ in 0..3 {
            let later = site.send(app(cookie));
            assert_eq!((cache(&later), later.all("Set-Cookie").len()), ("HIT", 0));
        }
    }
}

#[test]
fn a_cookie_of_the_application_beside_the_resolvers_counts() {
    let site =
        builder()
            .store(people().session(
                Session::cookie("s.secret", "alice").set_cookie("session=s.secret; Path=/"),
            ))
            .server(
                "authgear_cache auth; authgear_resolve http://%resolver%;
             location / { proxy_pass http://%app%; }",
            )
            .start();
    let cookie = "session=s.secret";
    let out = site.send(get(&setcookie("session=")).cookie(cookie));
    assert_eq!(out.all("Set-Cookie").len(), 2, "{out:?}");
    assert_eq!(cache(&site.send(app(cookie))), "MISS");
}

#[test]
fn off_watches_nothing() {
    let site = builder()
        .server(&format!("authgear_cache_watch off; {SERVER}"))
        .start();
    store(&site, &app(ALICE));
    site.send(get("/logout").cookie(ALICE));
    assert_eq!(cache(&site.send(app(ALICE))), "HIT");
}

#[test]
fn only_locations_with_the_cache_watch_and_only_their_zone() {
    let site = builder()
        .http("authgear_cache_zone zone=other:64k;")
        .server(
            "location /app { authgear_cache auth; authgear_resolve http://%resolver%; proxy_pass http://%app%; }
             location /setcookie { proxy_pass http://%app%; }
             location /other/ { authgear_cache other; proxy_pass http://%app%/; }
             location /unwatched/ { authgear_cache auth; authgear_cache_watch off; proxy_pass http://%app%/; }
             location /watched/ { authgear_cache auth; proxy_pass http://%app%/; }",
        )
        .start();
    store(&site, &app(ALICE));
    for (prefix, expected) in [
        ("", "HIT"),
        ("/other", "HIT"),
        ("/unwatched", "HIT"),
        ("/watched", "MISS"),
    ] {
        let path = format!("{prefix}{}", setcookie("session="));
        site.send(get(&path).cookie(ALICE));
        assert_eq!(cache(&site.send(app(ALICE))), expected, "{prefix}");
    }
}

#[test]
fn a_prefix_is_watched_where_it_is_in_force() {
    let resolver = Resolver::builder()
        .store(people())
        .cookie_prefix("shop_")
        .start()
        .expect("a resolver");
    let site = builder()
        .place("resolver", resolver.addr())
        .server(&format!("authgear_cookie_prefix shop_; {SERVER}"))
        .start();
    let request = app("shop_session=alice.secret");
    store(&site, &request);
    site.send(get(&setcookie("session=")).cookie("shop_session=alice.secret"));
    assert_eq!(cache(&site.send(request.clone())), "HIT");
    site.send(get("/logout").cookie("shop_session=alice.secret"));
    let response = site.send(request);
    assert_eq!((cache(&response), user(&response)), ("MISS", ""));
}

#[test]
fn a_resolve_in_flight_when_the_user_leaves_is_not_stored() {
    let site = builder()
        .store(
            people()
                .session(Session::cookie("slow.secret", "alice").delay(Duration::from_millis(400))),
        )
        .server(SERVER)
        .start();
    let slow = || app("session=slow.secret");
    let mut client = site.nginx.http1();
    client.send(slow().head());
    assert!(site.resolver.wait_for_requests(1, Duration::from_secs(5)));
    let out = site.send(get(&setcookie("session=")).cookie("session=slow.secret"));
    assert_eq!(out.status, 200);
    // Who asked gets what was true when it asked.
    assert_eq!(user(&client.read_response()), "alice");
    site.resolver.revoke("slow.secret");
    let response = site.send(slow());
    assert_eq!((cache(&response), user(&response)), ("MISS", ""));
}

#[test]
fn nothing_about_the_session_is_stored_for_two_seconds() {
    let site = builder().server(SERVER).start();
    store(&site, &app(ALICE));
    site.send(get(&setcookie("session=")).cookie(ALICE));
    let asked = site.resolver.request_count();
    for n in 1..4 {
        assert_eq!(cache(&site.send(app(ALICE))), "MISS");
        assert_eq!(site.resolver.request_count(), asked + n);
    }
    sleep(Duration::from_millis(2100));
    store(&site, &app(ALICE));
}

#[test]
fn a_redirect_inside_nginx_is_watched_where_it_ends() {
    let site = builder()
        .server(
            "authgear_cache auth;
             location /app { authgear_resolve http://%resolver%; proxy_pass http://%app%; }
             location /out { proxy_pass http://%listen:back%; error_page 418 = @page; proxy_intercept_errors on; }
             location @page { proxy_pass http://%app%; }
             location /accel { proxy_pass http://%listen:back%; }
             location /page { root %prefix%/html; }
             location /ssi.html { ssi on; root %prefix%/html; }",
        )
        .http(
            "server {
                 listen %listen:back%;
                 add_header Set-Cookie session=new always;
                 location /out { return 418; }
                 location /accel { add_header Set-Cookie session=new; add_header X-Accel-Redirect /page; return 200; }
             }",
        )
        .nginx(|nginx| nginx.file("html/page", "text"))
        .start();
    // The client never sees that cookie.
    store(&site, &app(ALICE));
    let response = site.send(get("/out").cookie(ALICE));
    assert_eq!(
        (response.status, response.header("Set-Cookie")),
        (200, None)
    );
    assert_eq!(cache(&site.send(app(ALICE))), "HIT");
    // And here it does.
    let response = site.send(get("/accel").cookie(ALICE));
    assert_eq!(
        (response.status, response.header("Set-Cookie")),
        (200, Some("session=new"))
    );
    assert_eq!(cache(&site.send(app(ALICE))), "MISS");
}

#[test]
fn watching_works_with_each_kind_of_request() {
    let site = builder().server(SERVER).start();
    let logout = || get(&setcookie("session=; Max-Age=0")).cookie(ALICE);
    store(&site, &app(ALICE));
    site.nginx.http2().request(logout());
    assert_eq!(cache(&site.send(app(ALICE))), "MISS");
    sleep(Duration::from_millis(2100));
    store(&site, &app(ALICE));
    let head = authgear_integration::request("HEAD", &setcookie("session=")).cookie(ALICE);
    site.send(head);
    assert_eq!(cache(&site.send(app(ALICE))), "MISS");
    // Whoever has no credentials removes nobody's.
    store(&site, &app(BOB));
    site.send(get(&setcookie("session=bob.secret")));
    assert_eq!(cache(&site.send(app(BOB))), "HIT");
}
