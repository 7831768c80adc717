//! The life of nginx's processes: reloads, replacement, shutdown and death, with resolves under way.
//!
//! Whatever happens to them, a request that reached a worker that lives is answered, by the identity
//! of its own credential. What a death costs with the cache is in `cache_soak.rs`.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use authgear_integration::{
    deadline, eventually, get, holds_for, Authority, Daemon, Environment, Http1, Nginx,
    NginxBuilder, Request, Response, Scripted, Site, TlsServer, ALICE,
};
use authgear_resolver_double::{EchoApp, Fault, Resolver, Session, Store, User};
use rustix::process::{kill_process, Pid, Signal};

const WORKERS: usize = 4;
const CLIENTS: usize = 8;
const SESSIONS: usize = 64;

/// Without the cache, and with one.
const CACHES: [&str; 2] = [
    "",
    "authgear_cache auth; authgear_cache_valid 20ms; authgear_cache_refresh 5ms;",
];

/// Each session has a user and a role of its own.
fn store() -> Store {
    (0..SESSIONS).fold(Store::new(), |store, n| {
        let user = format!("u{n}");
        store
            .user(User::new(&user).roles([format!("role-{n}").as_str()]))
            .session(Session::cookie(&format!("s{n}.secret"), &user))
    })
}

/// A resolver that takes its time, and an application.
struct Peers {
    resolver: Resolver,
    app: EchoApp,
}

impl Peers {
    fn start() -> Self {
        let resolver = Resolver::builder().store(store()).record(0);
        let resolver = resolver.start().expect("a resolver");
        resolver.set_delay(Duration::from_millis(5));
        let app = EchoApp::builder().record(0).start().expect("an app");
        Self { resolver, app }
    }

    /// An nginx of several workers in front of them. A slow machine is no reason to give up on the
    /// resolver; what hangs, the clients notice.
    fn nginx(&self, directives: &str) -> NginxBuilder {
        Nginx::builder()
            .place("resolver", self.resolver.addr())
            .place("app", self.app.addr())
            .workers(WORKERS)
            .http(&format!(
                "upstream app {{ server %app%; keepalive 16; }}
                 authgear_cache_zone zone=auth:256k;
                 authgear_connect_timeout 60s; authgear_read_timeout 60s; authgear_cache_lock_timeout 60s;
                 authgear_resolve http://%resolver%; {directives}"
            ))
            .server(
                "location / {
                     authgear_require session;
                     proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection '';
                 }",
            )
    }
}

/// What became of the requests of many clients.
struct Tally {
    served: usize,
    /// When those were sent that got no answer, and when the client knew.
    lost: Vec<(Instant, Instant)>,
}

/// How many must be served for a test to tell anything.
fn enough() -> usize {
    match Environment::get().valgrind {
        true => 1,
        false => 5 * CLIENTS,
    }
}

/// Clients that come and go while something is done to nginx.
///
/// Each request has a connection of its own: one that waits for a further request is closed by a
/// worker that leaves, and a client that writes at that moment cannot know.
fn under_load(addr: SocketAddr, disturb: impl FnOnce()) -> Tally {
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let stopped = &stopped;
                scope.spawn(move || visit(addr, client, stopped))
            })
            .collect();
        // Also when this fails, the clients must not go on.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(disturb));
        thread::sleep(Duration::from_millis(100));
        stopped.store(true, Ordering::SeqCst);
        let mut total = Tally {
            served: 0,
            lost: Vec::new(),
        };
        for client in clients {
            let tally = client
                .join()
                .unwrap_or_else(|e| std::panic::resume_unwind(e));
            total.served += tally.served;
            total.lost.extend(tally.lost);
        }
        if let Err(e) = done {
            std::panic::resume_unwind(e);
        }
        total
    })
}

fn visit(addr: SocketAddr, client: usize, stopped: &AtomicBool) -> Tally {
    let mut tally = Tally {
        served: 0,
        lost: Vec::new(),
    };
    for turn in client.. {
        if stopped.load(Ordering::SeqCst) {
            break;
        }
        let session = turn * 7 % SESSIONS;
        let request = get("/")
            .cookie(&format!("session=s{session}.secret"))
            .header("Connection", "close");
        let sent = Instant::now();
        match Http1::connect(addr).try_request(&request) {
            Ok(response) => {
                check(&response, session);
                tally.served += 1;
            }
            Err(e) => {
                assert!(sent.elapsed() < deadline(), "{request:?} hangs: {e}");
                tally.lost.push((sent, Instant::now()));
            }
        }
    }
    tally
}

/// Whether the application was told who sent the request, and nobody else.
fn check(response: &Response, session: usize) {
    let seen = response.seen();
    let user = format!("u{session}");
    let role = format!("role-{session}");
    assert_eq!(seen.get("x-authgear-user-id"), Some(user.as_str()));
    assert_eq!(seen.get("x-authgear-user-roles"), Some(role.as_str()));
}

fn alice() -> Request {
    get("/").cookie(ALICE)
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid as i32).expect("a pid");
    kill_process(pid, signal).expect("signal");
}

/// Waits until the workers that were told to go have gone.
fn all_leave(nginx: &Nginx) {
    if !Environment::get().valgrind {
        eventually("workers that leave", || {
            nginx.leaving_pids().is_empty().then_some(())
        });
    }
}

#[test]
fn reloads_under_load_fail_nobody() {
    for cache in CACHES {
        let peers = Peers::start();
        let mut nginx = peers.nginx(cache).start();
        let addr = nginx.addr("http1");
        let tally = under_load(addr, || {
            for _ in 0..5 {
                nginx.reload();
                thread::sleep(Duration::from_millis(50));
            }
        });
        assert_eq!(tally.lost.len(), 0, "{cache}: {} served", tally.served);
        assert!(tally.served >= enough(), "{cache}: {}", tally.served);
        // Each of them kept idle connections to the resolver.
        all_leave(&nginx);
    }
}

#[test]
fn a_killed_worker_fails_only_the_requests_that_it_had() {
    for cache in CACHES {
        let peers = Peers::start();
        let mut nginx = peers
            .nginx(cache)
            .expect_in_log("exited on signal 9")
            .expect_in_log("was locked by")
            .start();
        let addr = nginx.addr("http1");
        let mut kills = Vec::new();
        let tally = under_load(addr, || {
            for n in 0..5 {
                thread::sleep(Duration::from_millis(100));
                kills.push(Instant::now());
                kill(nginx.worker_pids()[n % 2], Signal::KILL);
                eventually("a new worker", || {
                    (nginx.worker_pids().len() == WORKERS).then_some(())
                });
            }
        });
        assert!(tally.served >= enough(), "{cache}: {}", tally.served);
        assert!(
            tally.lost.len() <= kills.len() * CLIENTS,
            "{} lost",
            tally.lost.len()
        );
        for (sent, ended) in tally.lost {
            let died = kills.iter().any(|kill| (sent..=ended).contains(kill));
            // The signal takes a moment to arrive.
            let late = kills
                .iter()
                .any(|kill| sent.saturating_duration_since(*kill) < Duration::from_millis(100));
            assert!(died || late, "{cache}: lost without a death");
        }
        nginx.reload();
    }
}

/// What must hold for a `Daemon` whose binary was replaced under load.
fn replaced_under_load(replace: impl Fn(&Daemon)) {
    if Environment::get().valgrind {
        return;
    }
    for cache in CACHES {
        let peers = Peers::start();
        let nginx = peers.nginx(cache).start_daemon();
        let tally = under_load(nginx.addr("http1"), || replace(&nginx));
        assert_eq!(tally.lost.len(), 0, "{cache}: {} served", tally.served);
        assert!(tally.served >= enough(), "{cache}: {}", tally.served);
    }
}

#[test]
fn a_new_binary_takes_over_under_load_and_fails_nobody() {
    replaced_under_load(|nginx| {
        let (old, new) = nginx.start_new_binary();
        thread::sleep(Duration::from_millis(100));
        nginx.signal(old, Signal::WINCH);
        nginx.wait_for_workers(old, 0);
        thread::sleep(Duration::from_millis(100));
        nginx.signal(old, Signal::QUIT);
        nginx.wait_for_end(old);
        assert_eq!(nginx.master(), Some(new));
    });
}

#[test]
fn an_old_binary_comes_back_under_load_and_fails_nobody() {
    replaced_under_load(|nginx| {
        let (old, new) = nginx.start_new_binary();
        nginx.signal(old, Signal::WINCH);
        nginx.wait_for_workers(old, 0);
        nginx.signal(old, Signal::HUP);
        nginx.wait_for_workers(old, WORKERS);
        nginx.signal(new, Signal::QUIT);
        nginx.wait_for_end(new);
        eventually("the old pid file", || {
            (nginx.master() == Some(old)).then_some(())
        });
    });
}

/// A site whose only worker has a resolve of alice's under way.
fn asking(directives: &str, delay: Duration) -> (Site, Http1) {
    let site = Site::builder()
        .http("authgear_cache_zone zone=auth:256k;")
        .nginx(|nginx| nginx.main(directives))
        .server("authgear_resolve http://%resolver%; authgear_require session;")
        .server("location / { proxy_pass http://%app%; }")
        .server("location /cached { authgear_cache auth; proxy_pass http://%app%; }")
        .start();
    site.resolver.set_delay(delay);
    let mut client = site.nginx.http1();
    client.send(alice().head());
    assert!(site.resolver.wait_for_requests(1, deadline()));
    (site, client)
}

#[test]
fn who_is_asked_for_when_nginx_quits_is_served() {
    let (mut site, mut client) = asking("", Duration::from_millis(300));
    // One asks, and one waits for its answer.
    let mut waiters = [site.nginx.http1(), site.nginx.http1()];
    let cached = get("/cached").cookie(ALICE);
    for waiter in &mut waiters {
        waiter.send(cached.head());
    }
    let mut http2 = site.nginx.http2();
    let streams: Vec<_> = (0..5)
        .map(|n| {
            let path = ["/", "/cached"][n % 2];
            http2.start(get(path).cookie(ALICE))
        })
        .collect();
    assert!(site.resolver.wait_for_requests(5, deadline()));
    site.nginx.end(Signal::QUIT);

    let mut responses = vec![client.read_response()];
    responses.extend(waiters.iter_mut().map(Http1::read_response));
    responses.extend(streams.into_iter().map(|stream| http2.finish(stream)));
    for response in responses {
        assert_eq!(response.seen().get("x-authgear-user-id"), Some("alice"));
    }
    // Of those with the cache only the first has asked.
    assert_eq!(site.resolver.request_count(), 5);
    drop((client, waiters, http2));
    site.nginx.wait_for_end();
}

#[test]
fn the_shutdown_timeout_ends_a_resolve_that_hangs() {
    let (mut site, mut client) = asking("worker_shutdown_timeout 200ms;", Duration::ZERO);
    client.read_response().seen();
    // Two are asked for, and the others wait for the answer to the second.
    site.resolver.set_fault(Fault::hang());
    let mut others = [site.nginx.http1(), site.nginx.http1(), site.nginx.http1()];
    for (other, path) in others.iter_mut().zip(["/", "/cached", "/cached"]) {
        other.send(get(path).cookie(ALICE).head());
    }
    let mut http2 = site.nginx.http2();
    let stream = http2.start(get("/cached").cookie(ALICE));
    assert!(site.resolver.wait_for_requests(3, deadline()));
    site.nginx.end(Signal::QUIT);
    for other in &mut others {
        assert!(other.is_closed());
    }
    http2.cancel(stream);
    site.nginx.wait_for_end();
    eventually("connections to the resolver closed", || {
        (site.resolver.connections_open() == 0).then_some(())
    });
}

#[test]
fn nginx_stops_at_once_with_resolves_under_way() {
    let (mut site, mut client) = asking("", Duration::from_secs(30));
    let mut waiter = site.nginx.http1();
    waiter.send(get("/cached").cookie(ALICE).head());
    assert!(site.resolver.wait_for_requests(2, deadline()));
    site.nginx.end(Signal::TERM);
    assert!(client.is_closed() && waiter.is_closed());
    site.nginx.wait_for_end();
}

#[test]
fn a_refresh_under_way_is_finished_before_a_worker_leaves() {
    let mut site = Site::builder()
        .http("authgear_cache_zone zone=auth:256k;")
        .location(
            "authgear_resolve http://%resolver%; authgear_cache auth; authgear_cache_refresh 1ms;
             add_header cache $authgear_cache_status; proxy_pass http://%app%;",
        )
        .start();
    let mut client = site.nginx.http1();
    client.request(alice()).seen();
    thread::sleep(Duration::from_millis(50));
    site.resolver.set_delay(Duration::from_millis(300));
    let response = client.request(alice());
    assert_eq!(response.header("cache"), Some("REFRESH"), "{response:?}");
    assert!(site.resolver.wait_for_requests(2, deadline()));
    site.nginx.reload();
    all_leave(&site.nginx);
    // What it brought is in the zone, for the workers that came.
    site.resolver.set_fault(Fault::status(500));
    assert_eq!(site.send(alice()).status, 200);
}

#[test]
fn a_worker_that_leaves_closes_its_idle_connections() {
    let authority = Authority::new("root");
    let resolver = Resolver::start(authgear_integration::people());
    let tls = TlsServer::builder(&authority.issue("resolver.example")).start(resolver.addr());
    // How the resolver is reached.
    let table = [
        ("http://%resolver%", ""),
        ("http://group", "upstream group { server %resolver%; }"),
        (
            "http://group",
            "upstream group { server %resolver%; keepalive 4; }",
        ),
        ("https://%tls%", ""),
    ];
    for (url, http) in table {
        let plain = Scripted::answering(
            "HTTP/1.1 200 OK\r\nx-authgear-session-valid: true\r\nx-authgear-user-id: alice\r\n\
             Content-Length: 0\r\n\r\n",
        );
        let mut site = Site::builder()
            .place("resolver", plain.addr())
            .place("tls", tls.addr())
            .http(http)
            .location(&format!(
                "authgear_resolve {url}; authgear_ssl_verify off; proxy_pass http://%app%;"
            ))
            .start();
        for _ in 0..3 {
            site.app_saw(alice());
        }
        let is_tls = url.starts_with("https");
        let open = || match is_tls {
            true => resolver.connections_open(),
            false => plain.open_connections(),
        };
        assert_eq!(open(), 1, "{url} {http}");
        assert!(holds_for(Duration::from_millis(50), || open() == 1));
        site.nginx.reload();
        all_leave(&site.nginx);
        eventually("an idle connection closed", || (open() == 0).then_some(()));
    }
}

#[test]
fn streams_under_way_outlive_a_reload() {
    let peers = Peers::start();
    peers.resolver.set_delay(Duration::from_millis(200));
    let mut nginx = peers.nginx("").start();
    let mut http2 = nginx.http2();
    let streams: Vec<_> = (0..20)
        .map(|n| http2.start(get("/").cookie(&format!("session=s{n}.secret"))))
        .collect();
    assert!(peers.resolver.wait_for_requests(20, deadline()));
    nginx.reload();
    for (n, stream) in streams.into_iter().enumerate() {
        check(&http2.finish(stream), n);
    }
    all_leave(&nginx);
}

#[test]
fn the_application_of_each_configuration_is_asked_where_it_says() {
    // A resolve that is under way belongs to the configuration with which it began.
    let first = Resolver::start(authgear_integration::people());
    let second = Resolver::start(authgear_integration::people());
    first.set_delay(Duration::from_millis(300));
    let app = EchoApp::start();
    let mut nginx = Nginx::builder()
        .place("first", first.addr())
        .place("second", second.addr())
        .place("app", app.addr())
        .server(
            "location / { authgear_resolve http://%first%; proxy_pass http://%app%; }
             location /second { authgear_resolve http://%second%; proxy_pass http://%app%; }",
        )
        .start();
    let mut client = nginx.http1();
    client.send(alice().head());
    assert!(first.wait_for_requests(1, deadline()));

    let file = nginx.prefix().join("nginx.conf");
    let conf = std::fs::read_to_string(&file).expect("nginx.conf");
    let here = first.addr().to_string();
    std::fs::write(&file, conf.replace(&here, &second.addr().to_string())).expect("nginx.conf");
    nginx.reload();
    nginx.send(alice()).seen();
    assert_eq!((first.request_count(), second.request_count()), (1, 1));
    client.read_response().seen();
    all_leave(&nginx);
}
