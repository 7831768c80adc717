//! Allocations that fail, each of a request's and of the start's: what comes of it is a right answer
//! or a refusal, nobody gets another's identity, the worker lives, and the next request is served.
//!
//! Pools of the least size make nearly each allocation from a pool one of its own. `make faults`
//! takes an nginx in which each is.
//!
//! Not with a client that speaks HTTP/2: nginx 1.18.0 then ends its worker by itself. Without memory for
//! the request line, `ngx_http_v2_construct_request_line` logs one that has a length and no bytes.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use authgear_integration::{
    eventually, get, holds_for, nginx_t, post, request, signature, Authority, Dns, Faults, Nginx,
    NginxBuilder, Port, Request, Response, Says, Site, TlsServer,
};
use authgear_resolver_double::{EchoApp, Resolver, Session, Store, User};
use rustix::process::Signal;

const SECRET: &str = "whsec_3f1c";
/// More than there are turns, so that each can have a session that nobody has asked for.
const SESSIONS: usize = 20_000;
/// What the certificate of the resolver is for.
const NAME: &str = "auth.example";

const HTTP: &str = "
    connection_pool_size 112; request_pool_size 112;
    upstream group { server %resolver%; keepalive 1; }
    upstream auth.example { server %tls%; }
    upstream secure_group { server %tls%; keepalive 1; }
    authgear_ssl_trusted_certificate %prefix%/ca.pem;
    authgear_keepalive 1;
    authgear_cache_zone zone=auth:64k;
    authgear_cache_valid 1h;
    authgear_resolve http://%resolver%;
    authgear_login https://auth.example/?to=$authgear_return_url;
    proxy_set_header Host $host;
    add_header user $authgear_user_id always;
    add_header session $authgear_session always;
    add_header outcome $authgear_outcome always;
";

const SERVER: &str = "
    location / { authgear_cache auth; authgear_require session; proxy_pass http://%app%; }
    location /uncached { authgear_require session; proxy_pass http://%app%; }
    location /open { authgear_cache auth; proxy_pass http://%app%; }
    location /set {
        authgear_cache auth; authgear_set_header X-Forwarded-Host $host;
        authgear_require session; proxy_pass http://%app%;
    }
    location /refresh {
        authgear_cache auth; authgear_cache_refresh 1ms;
        authgear_require session; proxy_pass http://%app%;
    }
    location /down { authgear_resolve http://127.0.0.1:1; proxy_pass http://%app%; }
    location /group {
        authgear_resolve http://group; authgear_require session; proxy_pass http://%app%;
    }
    location /tls {
        authgear_resolve https://auth.example;
        authgear_require session; proxy_pass http://%app%;
    }
    location /tls-anew {
        authgear_resolve https://auth.example;
        authgear_keepalive 0; authgear_ssl_session_reuse off;
        authgear_require session; proxy_pass http://%app%;
    }
    location /tls-resumed {
        authgear_resolve https://auth.example; authgear_keepalive 0;
        authgear_require session; proxy_pass http://%app%;
    }
    location /tls-group {
        authgear_resolve https://secure_group; authgear_ssl_name auth.example;
        authgear_require session; proxy_pass http://%app%;
    }
    resolver %dns%; resolver_timeout 300ms;
    location /name {
        authgear_resolve http://auth.test:%resolver_port%;
        authgear_require session; proxy_pass http://%app%;
    }
    location /new-name {
        authgear_resolve http://$arg_name:%resolver_port%;
        authgear_require session; proxy_pass http://%app%;
    }
    location /tls-name {
        authgear_resolve https://$arg_name:%tls_port%; authgear_ssl_name auth.example;
        authgear_keepalive 0; authgear_require session; proxy_pass http://%app%;
    }
    location /trust { authgear_trust_identity on; authgear_resolve off; proxy_pass http://%app%; }
    location = /webhook { authgear_webhook secret; client_body_buffer_size 64; }
    location = /purge { authgear_purge; }
    location = /status { authgear_status; }
";

fn user(n: usize) -> String {
    format!("u{n}")
}

/// Ways to the resolver other than its address.
struct Ways {
    tls: TlsServer,
    _dns: Dns,
}

fn site(faults: &Faults) -> (Site, Ways) {
    let store = (0..SESSIONS).fold(Store::new(), |store, n| {
        let cookie = format!("s{n}.secret");
        store
            .user(
                User::new(&user(n))
                    .roles(["editor"])
                    .verified(true)
                    .can_reauthenticate(true),
            )
            .session(Session::cookie(&cookie, &user(n)).amr(["pwd", "otp"]))
    });
    let resolver = resolver(store);
    let authority = Authority::new("Authority");
    let tls = TlsServer::builder(&authority.issue(NAME)).start(resolver.addr());
    let dns = Dns::saying(Says::Addresses(
        vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        60,
    ));
    let app = EchoApp::start();
    let nginx = Nginx::builder()
        .place("resolver", resolver.addr())
        .place("resolver_port", resolver.addr().port())
        .place("app", app.addr())
        .place("tls", tls.addr())
        .place("tls_port", tls.addr().port())
        .place("dns", dns.addr())
        .http(HTTP)
        .server(SERVER)
        .file("ca.pem", &authority.pem())
        .file("secret", SECRET)
        .expect_in_log("failed (12: Cannot allocate memory)")
        .expect_in_log(": no memory in ")
        // OpenSSL's allocations fail, too, and nginx holds that to be critical.
        .expect_in_log("(SSL: error:")
        .expect_in_log("SSL_write() failed");
    let site = Site {
        nginx: faults.preload(nginx).start(),
        resolver,
        app,
    };
    (site, Ways { tls, _dns: dns })
}

/// A resolver at 127.0.0.1, and at `[::1]` with the same port where there is IPv6.
fn resolver(store: Store) -> Resolver {
    let port = Port::reserve().addr().port();
    let at = |ips: &[IpAddr]| {
        let listening = Resolver::builder().store(store.clone());
        let listening = ips.iter().fold(listening, |resolver, ip| {
            resolver.listen(SocketAddr::from((*ip, port)))
        });
        listening.start()
    };
    let old = IpAddr::from(Ipv4Addr::LOCALHOST);
    at(&[old, Ipv6Addr::LOCALHOST.into()])
        .or_else(|_| at(&[old]))
        .expect("a loopback address")
}

/// What comes back to the clients of a turn.
type Responses = Vec<io::Result<Response>>;

/// A request whose allocations fail.
struct Scenario {
    name: &'static str,
    /// What must be there before.
    before: fn(&Site, usize),
    /// Makes the request of this turn, and those that belong to it.
    ask: fn(&Site, usize) -> Responses,
    /// Whether this is the answer that is right.
    is_right: fn(&Response, usize) -> bool,
}

/// With the cookie of a session, and with an identity that the client has made up.
fn with_session(path: &str, n: usize) -> Request {
    forged(get(path)).cookie(&format!("theme=dark; session=s{n}.secret"))
}

fn forged(request: Request) -> Request {
    request
        .header("X-Authgear-User-Id", "mallory")
        .header("X-Authgear-Session-Valid", "true")
}

fn send(site: &Site, request: Request) -> Responses {
    vec![site.nginx.http1().try_request(&request)]
}

fn nothing(_: &Site, _: usize) {}

/// The application was told that this is the user, and all of it.
fn is_user(response: &Response, n: usize) -> bool {
    response.status == 200 && identity_is_of(&response.seen().identity(), n)
}

fn identity_is_of(identity: &[(String, String)], n: usize) -> bool {
    let user = user(n);
    let expected = [
        ("x-authgear-session-amr", "pwd otp"),
        ("x-authgear-session-valid", "true"),
        ("x-authgear-user-anonymous", "false"),
        ("x-authgear-user-can-reauthenticate", "true"),
        ("x-authgear-user-id", &user),
        ("x-authgear-user-roles", "editor"),
        ("x-authgear-user-verified", "true"),
    ];
    identity
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .eq(expected)
}

/// An event about a user, with as many blanks behind it.
fn webhook(n: usize, blanks: usize) -> Request {
    let mut body = format!(
        r#"{{"id":"1","seq":1,"type":"user.disabled","payload":{{"user":{{"id":"{}"}}}},"context":{{}}}}"#,
        user(n)
    );
    body.push_str(&" ".repeat(blanks));
    let mac = signature(SECRET, body.as_bytes());
    post("/webhook", body).header("x-authgear-body-signature", &mac)
}

/// The resolver is asked by way of this path, and answers.
fn served(site: &Site, path: &str, n: usize) {
    let response = site.send(with_session(path, n));
    assert!(is_user(&response, n), "{path}: {response:?}");
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "miss",
        before: nothing,
        ask: |site, n| send(site, with_session("/", n)),
        is_right: is_user,
    },
    Scenario {
        name: "hit",
        before: |site, n| assert_eq!(site.send(with_session("/", n)).status, 200),
        ask: |site, n| send(site, with_session("/", n)),
        is_right: is_user,
    },
    Scenario {
        name: "no cache",
        before: nothing,
        ask: |site, n| send(site, with_session("/uncached", n)),
        is_right: is_user,
    },
    Scenario {
        name: "values of variables in the resolver request",
        before: nothing,
        ask: |site, n| send(site, with_session("/set", n)),
        is_right: is_user,
    },
    Scenario {
        name: "refresh",
        before: |site, n| {
            assert_eq!(site.send(with_session("/refresh", n)).status, 200);
            std::thread::sleep(Duration::from_millis(2));
        },
        ask: |site, n| {
            let asked = site.resolver.request_count();
            let responses = send(site, with_session("/refresh", n));
            site.resolver
                .wait_for_requests(asked + 1, Duration::from_millis(5));
            responses
        },
        is_right: is_user,
    },
    Scenario {
        name: "one asks and one waits",
        before: nothing,
        ask: |site, n| {
            let request = with_session("/", n);
            let asked = site.resolver.request_count();
            site.resolver.set_delay(Duration::from_millis(10));
            let mut clients = [site.nginx.http1(), site.nginx.http1()];
            for client in &mut clients {
                client.send(request.head());
                site.resolver
                    .wait_for_requests(asked + 1, Duration::from_millis(5));
            }
            let responses = clients.iter_mut().map(|c| c.read_response_to("GET"));
            let responses = responses.collect();
            site.resolver.set_delay(Duration::ZERO);
            responses
        },
        is_right: is_user,
    },
    Scenario {
        name: "log-out",
        before: |site, n| assert_eq!(site.send(with_session("/", n)).status, 200),
        ask: |site, n| send(site, with_session("/setcookie?c=session=", n)),
        is_right: is_user,
    },
    Scenario {
        name: "no credentials",
        before: nothing,
        ask: |site, _| send(site, forged(get("/open"))),
        is_right: |response, _| response.status == 200 && response.seen().identity().is_empty(),
    },
    Scenario {
        name: "refused with a problem",
        before: nothing,
        ask: |site, n| {
            let cookie = format!("session=gone{n}");
            let request = forged(get("/")).cookie(&cookie);
            send(site, request.header("Accept", "application/json"))
        },
        is_right: |response, _| response.status == 401,
    },
    Scenario {
        name: "login",
        before: nothing,
        ask: |site, _| send(site, forged(get("/page?a=b")).header("Accept", "text/html")),
        is_right: |response, _| response.status == 302,
    },
    Scenario {
        name: "no resolver",
        before: nothing,
        ask: |site, n| send(site, with_session("/down", n)),
        is_right: |response, _| response.status == 503,
    },
    Scenario {
        name: "trusted sender",
        before: nothing,
        ask: |site, _| send(site, forged(get("/trust"))),
        is_right: |response, _| {
            response.status == 200 && response.seen().get("x-authgear-user-id") == Some("mallory")
        },
    },
    Scenario {
        name: "webhook",
        before: nothing,
        ask: |site, n| send(site, webhook(n, 0)),
        is_right: |response, _| response.status == 204,
    },
    Scenario {
        name: "webhook larger than the reserve",
        before: nothing,
        ask: |site, n| send(site, webhook(n, 300_000)),
        is_right: |response, _| response.status == 204,
    },
    Scenario {
        name: "purge",
        before: nothing,
        ask: |site, n| {
            let path = format!("/purge?user={}&session=x", user(n));
            send(site, request("DELETE", &path))
        },
        is_right: |response, _| response.status == 204,
    },
    Scenario {
        name: "status",
        before: nothing,
        ask: |site, _| send(site, get("/status?format=json")),
        is_right: |response, _| response.status == 200 && response.text().ends_with("}\n"),
    },
    Scenario {
        name: "group with keepalive",
        before: |site, n| served(site, "/group", n),
        ask: |site, n| send(site, with_session("/group", n)),
        is_right: is_user,
    },
];

/// With a resolver over TLS.
const TLS: &[Scenario] = &[
    Scenario {
        name: "TLS",
        before: nothing,
        ask: |site, n| send(site, with_session("/tls-anew", n)),
        is_right: is_user,
    },
    Scenario {
        name: "TLS, session resumed",
        before: |site, n| served(site, "/tls-resumed", n),
        ask: |site, n| send(site, with_session("/tls-resumed", n)),
        is_right: is_user,
    },
    Scenario {
        name: "TLS, connection kept",
        before: |site, n| served(site, "/tls", n),
        ask: |site, n| send(site, with_session("/tls", n)),
        is_right: is_user,
    },
    Scenario {
        name: "TLS, connection kept by the group",
        before: |site, n| served(site, "/tls-group", n),
        ask: |site, n| send(site, with_session("/tls-group", n)),
        is_right: is_user,
    },
];

/// With a resolver whose name is looked up.
const NAMES: &[Scenario] = &[
    Scenario {
        name: "name",
        before: |site, n| served(site, "/name", n),
        ask: |site, n| send(site, with_session("/name", n)),
        is_right: is_user,
    },
    Scenario {
        name: "new name",
        before: nothing,
        ask: |site, n| send(site, with_session(&format!("/new-name?name=n{n}.test"), n)),
        is_right: is_user,
    },
    Scenario {
        name: "new name, TLS",
        before: nothing,
        ask: |site, n| send(site, with_session(&format!("/tls-name?name=n{n}.test"), n)),
        is_right: is_user,
    },
];

/// How the requests with an allocation that failed have ended.
#[derive(Debug, Default)]
struct Ends {
    turns: u64,
    in_module: u64,
    right: u64,
    refused: u64,
    closed: u64,
}

/// Whether a worker is there, and no zombie.
fn lives(worker: u32) -> bool {
    fs::read(format!("/proc/{worker}/cmdline")).is_ok_and(|title| !title.is_empty())
}

/// Fails `many` allocations of a scenario's request from the first on, from the second on, and so
/// forth, until there are no more.
fn fail_each(
    site: &Site,
    faults: &Faults,
    scenario: &Scenario,
    many: u64,
    step: usize,
    turns: &AtomicUsize,
) -> Ends {
    let mut ends = Ends::default();
    let workers = site.nginx.worker_pids();
    for from in (1..).step_by(step) {
        let n = turns.fetch_add(1, Ordering::Relaxed);
        let what = || format!("{}, allocation {from}", scenario.name);
        (scenario.before)(site, n);
        site.app.clear_requests();
        faults.fail_allocations(from, many);
        let responses = (scenario.ask)(site, n);
        let happened = faults.end_allocations();
        let untouched = happened.failed == 0;
        if !untouched {
            ends.turns += 1;
            ends.in_module += happened.failed_in_module.min(1);
        }

        for response in responses {
            match response {
                Ok(response) if (scenario.is_right)(&response, n) => {
                    ends.right += u64::from(!untouched)
                }
                Ok(response) if response.status >= 500 && !untouched => ends.refused += 1,
                Err(e)
                    if !untouched
                        && !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    assert!(lives(workers[0]), "{}", what());
                    ends.closed += 1;
                }
                wrong => panic!("{}: {wrong:?}", what()),
            }
        }
        // Also when the client was told nothing, the application was told the truth or nothing.
        for request in site.app.requests() {
            let seen = authgear_integration::Seen {
                headers: request.headers.clone(),
                ..Default::default()
            };
            let identity = seen.identity();
            let is_true = match scenario.name {
                "no credentials" => identity.is_empty(),
                "trusted sender" => identity.iter().any(|(_, v)| v == "mallory"),
                _ => identity_is_of(&identity, n),
            };
            assert!(is_true, "{}: the application saw {identity:?}", what());
        }
        if untouched {
            assert_eq!(site.nginx.worker_pids(), workers, "{}", what());
            return ends;
        }
        let next = site.send(with_session("/", n));
        assert!(is_user(&next, n), "after {}: {next:?}", what());
    }
    unreachable!()
}

/// Whether what takes minutes is asked for.
fn thorough() -> bool {
    std::env::var("AUTHGEAR_INJECTION").is_ok_and(|value| value == "all")
}

fn each_allocation_fails(scenarios: &[Scenario], many: u64, step: usize) {
    let step = if thorough() { 1 } else { step };
    let Some(faults) = Faults::new() else { return };
    let (site, ways) = site(&faults);
    let turns = AtomicUsize::new(1);
    let first = site.send(with_session("/", 0));
    assert!(is_user(&first, 0), "{first:?}");
    // All is right when no allocation fails, and what is kept from then on is kept.
    for scenario in scenarios {
        let n = turns.fetch_add(1, Ordering::Relaxed);
        (scenario.before)(&site, n);
        for response in (scenario.ask)(&site, n) {
            let is_right = response.as_ref().is_ok_and(|r| (scenario.is_right)(r, n));
            assert!(is_right, "{}: {response:?}", scenario.name);
        }
    }
    let before = site.descriptors_at_rest();
    for scenario in scenarios {
        let start = Instant::now();
        let ends = fail_each(&site, &faults, scenario, many, step, &turns);
        println!("{}: {ends:?} {:?}", scenario.name, start.elapsed());
        assert!(ends.turns > 5, "{}: {ends:?}", scenario.name);
    }
    let after = site.descriptors_at_rest();
    assert!(after <= before, "{before} descriptors, then {after}");
    for handshake in ways.tls.handshakes() {
        assert_eq!(handshake.server_name.as_deref(), Some(NAME));
    }
}

#[test]
fn any_allocation_of_a_request_may_fail() {
    each_allocation_fails(SCENARIOS, 1, 1);
}

#[test]
fn memory_may_run_out_at_any_allocation_of_a_request() {
    each_allocation_fails(SCENARIOS, u64::MAX, 4);
}

#[test]
fn any_allocation_of_a_request_with_tls_may_fail() {
    each_allocation_fails(TLS, 1, 11);
    each_allocation_fails(TLS, u64::MAX, 17);
}

#[test]
fn any_allocation_of_a_request_with_a_name_may_fail() {
    each_allocation_fails(NAMES, 1, 5);
    each_allocation_fails(NAMES, u64::MAX, 11);
}

/// A configuration with something of each kind.
fn whole(faults: &Faults) -> NginxBuilder {
    faults.preload(
        Nginx::builder()
            .place("resolver", "127.0.0.1:1")
            .place("resolver_port", "1")
            .place("app", "127.0.0.1:1")
            .place("tls", "127.0.0.1:1")
            .place("tls_port", "1")
            .place("dns", "127.0.0.1:1")
            .file("ca.pem", &Authority::new("Authority").pem())
            .http(HTTP)
            .server(SERVER)
            .file("secret", SECRET),
    )
}

#[test]
fn any_allocation_of_the_start_may_fail() {
    let Some(faults) = Faults::new() else { return };
    faults.fail_own_allocations_of(0, u64::MAX, 1);
    assert_eq!(nginx_t(whole(&faults)), Ok(()));
    let all = faults.end_allocations().seen;
    let step = if thorough() { 1 } else { (all / 60).max(1) };
    let (mut refused, mut in_module) = (0, 0);
    for from in (1..=all).step_by(step as usize) {
        faults.fail_own_allocations_of(0, from, 1);
        // It panics when nginx is ended by a signal, or hangs.
        let said = nginx_t(whole(&faults));
        let happened = faults.end_allocations();
        in_module += happened.failed_in_module;
        refused += u64::from(said.is_err());
    }
    println!(
        "{all} allocations, each {step}th failed, {in_module} of the module: {refused} refused"
    );
    assert!(refused > 10);
}

fn the_worker(site: &Site) -> u32 {
    eventually("one worker", || match site.nginx.worker_pids()[..] {
        [worker] => Some(worker),
        _ => None,
    })
}

#[test]
fn any_allocation_of_a_reload_may_fail() {
    let Some(faults) = Faults::new() else { return };
    let (mut site, _ways) = site(&faults);
    let is_served = |site: &Site| {
        let response = site.send(with_session("/", 1));
        assert!(is_user(&response, 1), "{response:?}");
    };
    is_served(&site);
    let master = site.nginx.pid();
    faults.fail_own_allocations_of(master, u64::MAX, 1);
    site.nginx.reload();
    let all = faults.end_allocations().seen;
    let step = if thorough() { 1 } else { (all / 50).max(1) };
    let mut refused = 0;
    for from in (1..=all).step_by(step as usize) {
        let before = the_worker(&site);
        faults.fail_own_allocations_of(master, from, 1);
        site.nginx.signal(Signal::HUP);
        eventually("a reload", || {
            (faults.failed_allocations() > 0).then_some(())
        });
        // The worker that was there serves on, or a new one does.
        is_served(&site);
        faults.end_allocations();
        holds_for(Duration::from_millis(20), || {
            site.nginx.worker_pids() == [before]
        });
        refused += u64::from(the_worker(&site) == before);
        is_served(&site);
    }
    println!("{all} allocations, each {step}th failed: {refused} refused");
    assert!(refused > 5);
    site.nginx.reload();
    is_served(&site);
}
