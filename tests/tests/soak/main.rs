//! The soak: everything that happens to an nginx in production, for a long time and all at once.
//!
//! Clients with sessions of each kind on kept and pipelined connections, clients that leave, role
//! changes with webhooks and purges, log-outs and log-ins, reloads, a resolver that is killed and
//! started again. Of **each** answer it is judged whether the application was told what is true of
//! the credential that was sent, by the time-line that `world.rs` keeps; a 5xx must be one that the
//! resolver's absence explains. `make soak` runs it long and writes its report.

mod client;
mod events;
mod report;
mod samples;
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use authgear_integration::{Environment, Nginx};
use authgear_resolver_double::EchoApp;

use client::Tally;
use samples::Samples;
use world::World;

/// How much of what.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) requests: usize,
    pub(crate) sessions: usize,
    pub(crate) clients: usize,
    pub(crate) workers: usize,
    pub(crate) zone: &'static str,
    /// `authgear_cache_valid`, and as long again as a stale answer.
    pub(crate) valid: Duration,
    pub(crate) reload_every: Duration,
    pub(crate) restart_every: Duration,
    pub(crate) down_for: Duration,
    /// How long after the resolver is back an answer may still say that it was away.
    pub(crate) aftermath: Duration,
    /// Between two events of one who makes them.
    pub(crate) event_every: Duration,
    /// It must be over by then.
    pub(crate) limit: Duration,
}

const SECRET: &str = "whsec_soak";

#[test]
fn a_short_soak_of_everything() {
    let requests = match Environment::get().valgrind {
        true => 1_000,
        false => 20_000,
    };
    let plan = Plan {
        requests,
        sessions: 2_000,
        clients: 16,
        workers: 4,
        zone: "320k",
        valid: Duration::from_secs(2),
        reload_every: Duration::from_millis(300),
        restart_every: Duration::from_millis(900),
        down_for: Duration::from_millis(100),
        aftermath: Duration::from_millis(200),
        event_every: Duration::from_millis(10),
        limit: Duration::from_secs(120),
    };
    run(&plan).judge();
}

#[test]
#[ignore = "takes minutes; run by make soak"]
fn the_soak() {
    let number = |name: &str, default| match std::env::var(name) {
        Ok(text) if !text.is_empty() => text.parse().expect("a number"),
        _ => default,
    };
    let requests = number("AUTHGEAR_SOAK_REQUESTS", 5_000_000);
    let plan = Plan {
        requests,
        sessions: number("AUTHGEAR_SOAK_SESSIONS", 50_000),
        clients: number("AUTHGEAR_SOAK_CLIENTS", 32),
        workers: 4,
        // Some 20,000 sessions.
        zone: "5500k",
        valid: Duration::from_secs(30),
        reload_every: Duration::from_secs(3),
        restart_every: Duration::from_secs(10),
        down_for: Duration::from_millis(300),
        aftermath: Duration::from_secs(1),
        event_every: Duration::from_millis(30),
        limit: Duration::from_secs(120 + requests as u64 / 1_000),
    };
    let outcome = run(&plan);
    let report = report::markdown(&outcome);
    println!("{report}");
    if let Ok(path) = std::env::var("AUTHGEAR_SOAK_REPORT") {
        std::fs::write(&path, report).unwrap_or_else(|e| panic!("{path}: {e}"));
    }
    outcome.judge();
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome<'p> {
    pub(crate) plan: &'p Plan,
    pub(crate) tally: Tally,
    pub(crate) events: events::Counts,
    pub(crate) samples: Samples,
    pub(crate) status: serde_json::Value,
    pub(crate) app_requests: usize,
    pub(crate) reloads: usize,
    pub(crate) outages: usize,
    pub(crate) took: Duration,
    pub(crate) complaints: Vec<String>,
}

impl Outcome<'_> {
    fn judge(&self) {
        assert!(
            self.complaints.is_empty(),
            "{}\n{:?}",
            self.complaints.join("\n"),
            self.tally
        );
    }
}

fn run(plan: &Plan) -> Outcome<'_> {
    let world = World::new(plan.sessions, plan.aftermath);
    let app = EchoApp::builder().record(0).start().expect("an app");
    let valid = plan.valid.as_secs();
    let mut nginx = Nginx::builder()
        .place("resolver", world.resolver_addr())
        .place("app", app.addr())
        .file("secret", SECRET)
        .workers(plan.workers)
        .log_level("warn")
        .http(&format!(
            "upstream app {{ server %app%; keepalive 64; }}
             authgear_cache_zone zone=auth:{};
             authgear_cache_valid {valid}s;
             authgear_cache_use_stale {valid}s;
             authgear_cache_refresh {}s;
             add_header cache $authgear_cache_status always;
             proxy_http_version 1.1; proxy_set_header Connection '';",
            plan.zone,
            (valid / 3).max(1),
        ))
        .http_after(
            "server {
                 listen %listen:many% reuseport;
                 access_log off;
                 authgear_cache auth;
                 location / { proxy_pass http://%resolver%; }
                 location /open { authgear_resolve http://%resolver%; proxy_pass http://app; }
                 location /members {
                     authgear_resolve http://%resolver%; authgear_require session;
                     proxy_pass http://app;
                 }
                 location /staff {
                     authgear_resolve http://%resolver%; authgear_require role=staff;
                     proxy_pass http://app;
                 }
                 location = /hook { authgear_webhook secret; }
                 location = /purge { authgear_purge; }
                 location = /status { authgear_status; }
             }",
        )
        .start();

    let addr = nginx.addr("many");
    let left = AtomicUsize::new(plan.requests);
    let started = Instant::now();
    let mut samples = Samples::default();
    let (mut reloads, mut in_time) = (0, true);
    let (tally, events) = thread::scope(|scope| {
        let clients: Vec<_> = (0..plan.clients)
            .map(|n| {
                let (world, left) = (&world, &left);
                scope.spawn(move || client::run(world, addr, n as u64, left))
            })
            .collect();
        let running = || clients.iter().any(|client| !client.is_finished());
        let makers: Vec<_> = (0..events::MAKERS)
            .map(|n| {
                let (world, left) = (&world, &left);
                scope.spawn(move || events::run(world, addr, n, plan, left))
            })
            .collect();

        let (mut reloaded, mut restarted, mut told) = (started, started, started);
        while running() {
            thread::sleep(Duration::from_millis(10));
            let now = Instant::now();
            if now > started + plan.limit {
                in_time = false;
                left.store(0, Ordering::SeqCst);
            }
            // The last fifth is for workers that live long.
            let steady = left.load(Ordering::Relaxed) < plan.requests / 5;
            if now > restarted + plan.restart_every {
                world.restart_resolver(plan.down_for);
                restarted = now;
            }
            if now > reloaded + plan.reload_every {
                samples.take(&nginx, addr, started, steady);
                if !steady {
                    world.reloads();
                    nginx.reload();
                    reloads += 1;
                }
                reloaded = Instant::now();
            }
            if now > told + Duration::from_secs(30) {
                let done = plan.requests - left.load(Ordering::Relaxed);
                println!("{done} requests after {:.0?}", started.elapsed());
                told = now;
            }
        }
        let mut tally = Tally::default();
        for client in clients {
            tally.add(join(client));
        }
        let mut events = events::Counts::default();
        for maker in makers {
            let (counts, more) = join(maker);
            events.add(&counts);
            tally.add_apart(more);
        }
        (tally, events)
    });
    let took = started.elapsed();
    // The short one is over too soon to have any.
    samples.take(&nginx, addr, started, true);

    let mut complaints = tally.complaints.clone();
    if !in_time {
        complaints.push(format!("not over within {:?}", plan.limit));
    } else if tally.requests != plan.requests {
        complaints.push(format!("{} requests were judged", tally.requests));
    }
    for count in [tally.valid, tally.nobody, tally.refused, tally.hits()] {
        if count == 0 {
            complaints.push("something never happened".into());
        }
    }
    // A reload ends the connection of each client at most.
    let ends = (reloads + 1) * (plan.clients + 2 * events::MAKERS);
    if tally.lost > ends {
        complaints.push(format!("{} tries lost in {reloads} reloads", tally.lost));
    }
    complaints.extend(samples.complaints());
    let log = nginx.error_log();
    for never in ["was emptied", "it was damaged", "was locked by"] {
        if log.contains(never) {
            complaints.push(format!("the error log says {never:?}"));
        }
    }
    Outcome {
        plan,
        tally,
        events,
        status: samples.last_status(),
        samples,
        app_requests: app.request_count(),
        reloads,
        outages: world.outages(),
        took,
        complaints,
    }
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
