//! Load, with workers killed and configurations reloaded under it: nothing hangs, and whatever the
//! application is told belongs to the credential that was sent.
//!
//! The long run, with its numbers from the environment (`AUTHGEAR_SOAK_REQUESTS`,
//! `AUTHGEAR_SOAK_SESSIONS`, `AUTHGEAR_SOAK_CLIENTS`, `AUTHGEAR_SOAK_ZONE`, `AUTHGEAR_SOAK_KILL_MS`,
//! `AUTHGEAR_SOAK_RELOAD_MS`):
//!
//! ```console
//! $ cargo test --release -p authgear-integration --test cache_soak -- --ignored --nocapture
//! ```

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use authgear_integration::{get, Environment, Http1, Nginx, Random, Request, Response};
use authgear_resolver_double::{EchoApp, Kind, Resolver, Session, Store, User};
use rustix::process::{kill_process, Pid, Signal};

const WORKERS: usize = 4;

/// What is done to nginx.
struct Plan {
    requests: usize,
    sessions: usize,
    clients: usize,
    zone: String,
    kill_every: Option<Duration>,
    reload_every: Option<Duration>,
}

/// What came of it.
#[derive(Default)]
struct Outcome {
    statuses: BTreeMap<String, usize>,
    unauthenticated: usize,
    lost: usize,
    slowest: Duration,
    kills: usize,
    reloads: usize,
}

#[test]
fn workers_killed_under_load_leave_no_wrong_identity_and_no_one_waiting() {
    run(&Plan {
        requests: fewer(8_000),
        sessions: 500,
        clients: 16,
        zone: "64k".into(),
        kill_every: Some(Duration::from_millis(100)),
        reload_every: None,
    });
}

#[test]
fn a_short_soak() {
    run(&Plan {
        requests: fewer(20_000),
        sessions: 2_000,
        clients: 16,
        zone: "256k".into(),
        kill_every: Some(Duration::from_millis(400)),
        reload_every: Some(Duration::from_secs(1)),
    });
}

#[test]
#[ignore = "takes minutes"]
fn a_long_soak() {
    let number = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let milliseconds = |name: &str, default| Duration::from_millis(number(name, default) as u64);
    run(&Plan {
        requests: number("AUTHGEAR_SOAK_REQUESTS", 1_000_000),
        sessions: number("AUTHGEAR_SOAK_SESSIONS", 50_000),
        clients: number("AUTHGEAR_SOAK_CLIENTS", 32),
        // Some 20,000 sessions.
        zone: std::env::var("AUTHGEAR_SOAK_ZONE").unwrap_or_else(|_| "8m".into()),
        kill_every: Some(milliseconds("AUTHGEAR_SOAK_KILL_MS", 2_000)),
        reload_every: Some(milliseconds("AUTHGEAR_SOAK_RELOAD_MS", 5_000)),
    });
}

fn fewer(requests: usize) -> usize {
    match Environment::get().valgrind {
        true => requests / 20,
        false => requests,
    }
}

const KINDS: [Kind; 4] = [
    Kind::Session,
    Kind::AppSession,
    Kind::AppAccessToken,
    Kind::Bearer,
];

/// Each session has a user of its own, whose every header tells which.
fn store(sessions: usize) -> Store {
    (0..sessions).fold(Store::new(), |store, n| {
        let (user, role) = (format!("u{n}"), format!("role-{n}"));
        store.user(User::new(&user).roles([role.as_str()])).session(
            Session::new(KINDS[n % 4], &format!("s{n}.secret"), &user)
                .amr_text(&format!("amr-{n}"))
                .authenticated_at(1_700_000_000 + n as i64),
        )
    })
}

fn carrying(kind: Kind, value: &str) -> Request {
    match kind {
        Kind::Session => get("/").cookie(&format!("session={value}")),
        Kind::AppSession => get("/").cookie(&format!("app_session={value}")),
        Kind::AppAccessToken => get("/").cookie(&format!("app_access_token={value}")),
        Kind::Bearer => get("/").bearer(value),
    }
}

/// A request, and the number of its session if it has one.
fn pick(random: &mut Random, sessions: usize) -> (Request, Option<usize>) {
    // Some are asked for more often than others.
    let n = (random.below(sessions) + random.below(sessions) * random.below(2)) % sessions;
    let value = format!("s{n}.secret");
    match random.below(40) {
        // Someone else's value in the wrong place, and nonsense.
        0 => (carrying(KINDS[(n + 1 + random.below(3)) % 4], &value), None),
        1 => (
            carrying(
                KINDS[random.below(4)],
                &format!("x{n}.{}", random.next_u64()),
            ),
            None,
        ),
        _ => (carrying(KINDS[n % 4], &value), Some(n)),
    }
}

/// Whether the application was told what is true of that session.
fn check(response: &Response, session: Option<usize>) {
    assert_eq!(response.status, 200, "{response:?}");
    let identity = response.seen().identity();
    let of = |name: &str| {
        let found = identity.iter().find(|(n, _)| n == name);
        found.map_or("", |(_, value)| value.as_str())
    };
    let Some(n) = session else {
        assert_eq!(of("x-authgear-user-id"), "", "{identity:?}");
        assert!(
            matches!(of("x-authgear-session-valid"), "" | "false"),
            "{identity:?}"
        );
        return;
    };
    for (name, expected) in [
        ("x-authgear-session-valid", "true".to_owned()),
        ("x-authgear-user-id", format!("u{n}")),
        ("x-authgear-user-roles", format!("role-{n}")),
        ("x-authgear-session-amr", format!("amr-{n}")),
        (
            "x-authgear-session-authenticated-at",
            (1_700_000_000 + n).to_string(),
        ),
    ] {
        assert_eq!(of(name), expected, "session {n}: {identity:?}");
    }
}

/// One client: a connection for as long as it holds.
fn client(addr: SocketAddr, seed: u64, sessions: usize, left: &AtomicUsize) -> Outcome {
    let mut outcome = Outcome::default();
    let mut random = Random::new(seed);
    let mut connection = Http1::connect(addr);
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    while take().is_ok() {
        let (request, session) = pick(&mut random, sessions);
        let sent = Instant::now();
        let response = loop {
            match connection.try_request(&request) {
                Ok(response) => break response,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("{request:?} hangs: {e}");
                }
                // Its worker was killed, or left after a reload.
                Err(_) => {
                    outcome.lost += 1;
                    connection = Http1::connect(addr);
                }
            }
        };
        outcome.slowest = outcome.slowest.max(sent.elapsed());
        check(&response, session);
        let status = response.header("cache").unwrap_or("-").to_owned();
        *outcome.statuses.entry(status).or_default() += 1;
        outcome.unauthenticated += usize::from(session.is_none());
    }
    outcome
}

fn run(plan: &Plan) {
    let resolver = Resolver::builder()
        .store(store(plan.sessions))
        .record(0)
        .start()
        .expect("a resolver");
    let app = EchoApp::builder().record(0).start().expect("an app");
    let mut nginx = Nginx::builder()
        .place("resolver", resolver.addr())
        .place("app", app.addr())
        .workers(WORKERS)
        .log_level("warn")
        .http(&format!(
            "upstream app {{ server %app%; keepalive 64; }}
             authgear_cache_zone zone=auth:{};
             authgear_cache_refresh 20s;
             authgear_resolve http://%resolver%; authgear_cache auth;
             add_header cache $authgear_cache_status always;",
            plan.zone
        ))
        .http_after(
            "server {
                 listen %listen:many% reuseport;
                 access_log off;
                 location / {
                     proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection '';
                 }
             }",
        )
        .expect_in_log("exited on signal 9")
        // One may be killed inside the critical section: nginx unlocks it.
        .expect_in_log("was locked by")
        .start();

    let started = Instant::now();
    let left = AtomicUsize::new(plan.requests);
    let addr = nginx.addr("many");
    let total = thread::scope(|scope| {
        let clients: Vec<_> = (0..plan.clients)
            .map(|n| {
                let left = &left;
                scope.spawn(move || client(addr, 0x9e37_79b9 + n as u64, plan.sessions, left))
            })
            .collect();
        let mut total = Outcome::default();
        let running = || clients.iter().any(|client| !client.is_finished());
        disturb(&mut nginx, plan, &mut total, running);
        for client in clients {
            total.add(
                client
                    .join()
                    .unwrap_or_else(|e| std::panic::resume_unwind(e)),
            );
        }
        total
    });
    let took = started.elapsed();

    let log = nginx.error_log();
    let emptied = log.matches("was emptied").count();
    println!(
        "{} requests in {took:.1?} ({:.0}/s), {} sessions, zone {}: {:?}; {} without a session; \
         {} resolver calls; {} kills, {} reloads, {} tries lost with their worker; \
         zone emptied {emptied} times; slowest {:?}",
        plan.requests,
        plan.requests as f64 / took.as_secs_f64(),
        plan.sessions,
        plan.zone,
        total.statuses,
        total.unauthenticated,
        resolver.request_count(),
        total.kills,
        total.reloads,
        total.lost,
        total.slowest,
    );
    assert_eq!(total.statuses.values().sum::<usize>(), plan.requests);
    assert!(total.statuses.contains_key("HIT"));
    assert!(!log.contains("it was damaged"), "{log}");
    // Each ends a connection of each client at most.
    let ends = (total.kills + total.reloads) * plan.clients;
    assert!(total.lost <= ends, "{} tries lost", total.lost);
    // Workers have changed.
    nginx.reload();
}

/// Kills workers and reloads while there is load.
fn disturb(nginx: &mut Nginx, plan: &Plan, total: &mut Outcome, running: impl Fn() -> bool) {
    let mut random = Random::new(1);
    let (mut killed, mut reloaded) = (Instant::now(), Instant::now());
    let is_due = |every: Option<Duration>, since: Instant| {
        every.is_some_and(|every| since.elapsed() >= every)
    };
    while running() {
        thread::sleep(Duration::from_millis(5));
        if is_due(plan.kill_every, killed) {
            let workers = nginx.worker_pids();
            if let Some(pid) = workers.get(random.below(WORKERS)) {
                let pid = Pid::from_raw(*pid as i32).expect("a pid");
                total.kills += usize::from(kill_process(pid, Signal::KILL).is_ok());
            }
            killed = Instant::now();
        }
        if is_due(plan.reload_every, reloaded) {
            nginx.reload();
            total.reloads += 1;
            reloaded = Instant::now();
        }
    }
}

impl Outcome {
    fn add(&mut self, other: Outcome) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.unauthenticated += other.unauthenticated;
        self.lost += other.lost;
        self.slowest = self.slowest.max(other.slowest);
    }
}
