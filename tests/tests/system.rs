//! A system that fails under nginx: calls that return an error, descriptors that run out, a disk that
//! is full, clocks that are set, a worker that stands still. What comes of it is a right answer or a
//! refusal, and the next request is served.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use authgear_integration::{
    answer, deadline, eventually, get, request, Environment, Faults, Http1, Libc, Request,
    Response, Scripted, Site, ALICE, BOB,
};
use authgear_resolver_double::{jwt, Fault};
use rustix::process::{kill_process, Pid, Signal};

/// What a client can see of its outcome.
const SHOWN: &str = "
    add_header cache $authgear_cache_status always;
    add_header user $authgear_user_id always;
    add_header worker $pid always;
";

fn alice(path: &str) -> Request {
    get(path).cookie(ALICE)
}

/// Whether the application was told that this is the user.
fn is_user(response: &Response, user: &str) -> bool {
    response.status == 200 && response.seen().get("x-authgear-user-id") == Some(user)
}

fn cache(response: &Response) -> &str {
    response.header("cache").unwrap_or_default()
}

/// Errors, as Linux numbers them.
mod errno {
    pub(crate) const EIO: i32 = 5;
    pub(crate) const ENOMEM: i32 = 12;
    pub(crate) const ENFILE: i32 = 23;
    pub(crate) const EMFILE: i32 = 24;
    pub(crate) const ENOSPC: i32 = 28;
    pub(crate) const EPIPE: i32 = 32;
    pub(crate) const EADDRNOTAVAIL: i32 = 99;
    pub(crate) const ENETUNREACH: i32 = 101;
    pub(crate) const ECONNRESET: i32 = 104;
    pub(crate) const ENOBUFS: i32 = 105;
    pub(crate) const ETIMEDOUT: i32 = 110;
    pub(crate) const ECONNREFUSED: i32 = 111;
}

#[test]
fn a_call_that_fails_on_the_way_to_the_resolver_ends_in_503() {
    use errno::*;
    let calls: [(Libc, &[i32]); 5] = [
        (
            Libc::Connect,
            &[ECONNREFUSED, ENETUNREACH, ETIMEDOUT, EADDRNOTAVAIL],
        ),
        (Libc::Socket, &[EMFILE, ENFILE, ENOBUFS]),
        (Libc::Recv, &[ECONNRESET, ETIMEDOUT, EIO]),
        (Libc::Writev, &[EPIPE, ECONNRESET]),
        (Libc::EpollCtl, &[ENOMEM, ENOSPC]),
    ];
    let Some(faults) = Faults::new() else { return };
    let site = Site::builder()
        .http(SHOWN)
        .location(
            "authgear_resolve http://%resolver%; authgear_require session; proxy_pass http://%app%;",
        )
        .nginx(|nginx| faults.preload(nginx))
        .expect_in_log("connect() to")
        .expect_in_log("socket() failed")
        .expect_in_log("recv() failed")
        .expect_in_log("writev() failed")
        .expect_in_log("epoll_ctl(")
        .start();
    let port = site.resolver.addr().port();
    // Its descriptor is known to epoll, also for writing.
    let mut client = site.nginx.http1();
    assert!(is_user(&client.request(alice("/")), "alice"));
    let before = site.descriptors_at_rest();
    for (call, errors) in calls {
        for &error in errors {
            for (is_kept, many) in [(false, 1), (false, u64::MAX), (true, 1), (true, u64::MAX)] {
                // On a kept connection nothing else is called.
                if is_kept && !matches!(call, Libc::Recv | Libc::Writev) {
                    continue;
                }
                let what = format!("{call:?}, error {error}, kept: {is_kept}, {many} times");
                if is_kept {
                    assert!(is_user(&client.request(alice("/")), "alice"), "{what}");
                } else {
                    site.descriptors_at_rest();
                }
                let logged = site.nginx.error_log().len();
                faults.fail_calls(call, port, error, 1, many);
                let response = client.request(alice("/"));
                let happened = faults.end_calls();

                assert!(happened.failed > 0, "{what}: {happened:?}");
                if is_user(&response, "alice") {
                    // After a kept connection nginx tries another one.
                    assert!(is_kept && many == 1, "{what}");
                } else {
                    assert_eq!(response.status, 503, "{what}");
                    let log = &site.nginx.error_log()[logged..];
                    let has = |text: &str| log.contains(text);
                    assert!(has(&format!("failed ({error}: ")), "{what}: {log}");
                    assert!(has("authgear: resolver could not be reached"), "{log}");
                }
                assert!(is_user(&client.request(alice("/")), "alice"), "{what}");
            }
        }
    }
    let after = site.descriptors_at_rest();
    assert_eq!(after, before, "descriptors");
}

#[test]
fn a_worker_without_descriptors_refuses_and_recovers() {
    const DESCRIPTORS: usize = 40;
    // valgrind keeps some for itself, beyond the limit.
    if Environment::get().valgrind {
        return;
    }
    let site = Site::builder()
        .http(SHOWN)
        .location(
            "authgear_resolve http://%resolver%; authgear_require session; proxy_pass http://%app%;",
        )
        .nginx(|nginx| nginx.main(&format!("worker_rlimit_nofile {DESCRIPTORS};")))
        .expect_in_log("Too many open files")
        .start();
    let people = [(ALICE, "alice"), (BOB, "bob")];
    let mut client = site.nginx.http1();
    for (cookie, user) in people {
        assert!(is_user(&client.request(get("/").cookie(cookie)), user));
    }
    let before = site.descriptors_at_rest();

    let addr = site.nginx.addr("http1");
    let connect = || TcpStream::connect(addr).expect("a place in the backlog");
    let mut idle: Vec<TcpStream> = (0..2 * DESCRIPTORS).map(|_| connect()).collect();
    eventually("no descriptor left", || {
        (site.nginx.worker_descriptors() >= DESCRIPTORS).then_some(())
    });
    // Whether the request was served.
    let is_served = |client: &mut Http1, (cookie, user): (&str, &str)| {
        let response = client.request(get("/").cookie(cookie));
        match response.status {
            200 => assert!(is_user(&response, user), "{response:?}"),
            500.. => {}
            _ => panic!("{response:?}"),
        }
        response.status == 200
    };
    for turn in 0..10 {
        assert!(!is_served(&mut client, people[turn % 2]));
    }
    let log = site.nginx.error_log();
    assert!(log.contains("authgear: resolver could not be reached"));

    // One that is not accepted waits.
    let mut late = site.nginx.http1();
    late.send(alice("/").head());
    while idle.pop().is_some() {
        let mut other = site.nginx.http1();
        let (cookie, user) = people[idle.len() % 2];
        other.send(get("/").cookie(cookie).head());
        if !other.is_silent_for(Duration::from_millis(1)) {
            let response = other.read_response();
            assert!(
                response.status >= 500 || is_user(&response, user),
                "{response:?}"
            );
        }
    }
    let response = late.read_response();
    assert!(
        response.status >= 500 || is_user(&response, "alice"),
        "{response:?}"
    );
    drop(late);
    eventually("descriptors", || {
        (site.nginx.worker_descriptors() < DESCRIPTORS / 2).then_some(())
    });
    for (cookie, user) in people {
        let response = site.send(get("/").cookie(cookie));
        assert!(is_user(&response, user), "{response:?}");
    }
    eventually("descriptors as before", || {
        (site.descriptors_at_rest() <= before).then_some(())
    });
}

#[test]
fn full_disks_of_the_logs_disturb_no_request() {
    let site = Site::builder()
        .http(SHOWN)
        .http("authgear_cache_zone zone=auth:64k; authgear_resolve http://%resolver%;")
        .server(
            "error_log /dev/full debug;
             access_log /dev/full test;
             authgear_require session;
             location / { proxy_pass http://%app%; }
             location /cached { authgear_cache auth; proxy_pass http://%app%; }
             location /down { authgear_resolve http://127.0.0.1:1; proxy_pass http://%app%; }
             location = /purge { authgear_purge; }",
        )
        .nginx(|nginx| nginx.main("error_log /dev/full info;"))
        .expect_in_log("write() to \"/dev/full\" failed")
        .start();
    let mut client = site.nginx.http1();
    for n in 0..50 {
        for path in ["/", "/cached"] {
            assert!(is_user(&client.request(alice(path)), "alice"));
            let unknown = get(path).cookie(&format!("session=unknown{n}"));
            assert_eq!(client.request(unknown).status, 401);
        }
        assert_eq!(client.request(alice("/down")).status, 503);
        let purge = request("DELETE", "/purge?user=alice").cookie(ALICE);
        assert_eq!(client.request(purge).status, 204);
    }
    let mut http2 = site.nginx.http2();
    let streams: Vec<_> = (0..20).map(|_| http2.start(alice("/cached"))).collect();
    for stream in streams {
        assert!(is_user(&http2.finish(stream), "alice"));
    }
    // Nothing was said where nothing could be.
    assert_eq!(site.nginx.access_log(), "");
}

const DAY_MS: i64 = 24 * 3600 * 1000;

fn caching(faults: &Faults, resolver: Option<SocketAddr>) -> Site {
    let site = Site::builder()
        .http(SHOWN)
        .http(
            "authgear_cache_zone zone=auth:64k; authgear_cache auth;
             authgear_resolve http://%resolver%; authgear_require session;",
        )
        .server(
            "location / { authgear_cache_valid 1h; proxy_pass http://%app%; }
             location /stale {
                 authgear_cache_valid 1h; authgear_cache_use_stale 1h; proxy_pass http://%app%;
             }
             location /short { authgear_cache_valid 300ms; proxy_pass http://%app%; }
             location /hasty {
                 authgear_cache_valid 0; authgear_read_timeout 300ms; proxy_pass http://%app%;
             }",
        )
        .nginx(|nginx| faults.preload(nginx));
    match resolver {
        Some(addr) => site.place("resolver", addr).start(),
        None => site.start(),
    }
}

#[test]
fn the_time_of_day_neither_prolongs_nor_shortens_an_entry() {
    let Some(faults) = Faults::new() else { return };
    let site = caching(&faults, None);
    let mut client = site.nginx.http1();
    let mut ask = |path: &str| {
        let response = client.request(alice(path));
        assert!(is_user(&response, "alice"), "{response:?}");
        cache(&response).to_owned()
    };
    assert_eq!(ask("/"), "MISS");
    for days in [-300, 300, 0] {
        faults.move_time_of_day(days * DAY_MS);
        assert_eq!(ask("/"), "HIT", "{days} days");
    }
    for days in [-1, 0, 1, 0] {
        let asked = eventually("an entry that has expired", || {
            let now = Instant::now();
            (ask("/short") != "HIT").then_some(now)
        });
        let stored = Instant::now();
        faults.move_time_of_day(days * DAY_MS);
        eventually("an entry that expires", || {
            let asked = Instant::now();
            let status = ask("/short");
            let age = asked - stored;
            if status == "HIT" {
                // nginx's clock may lag a little behind.
                assert!(age < Duration::from_millis(400), "{days} days: {age:?}");
            }
            (status == "EXPIRED").then_some(())
        });
        let age = asked.elapsed();
        assert!(age > Duration::from_millis(250), "{days} days: {age:?}");
    }
}

/// A moment of this machine's clock, so many seconds from now.
fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("after 1970").as_secs() as i64 + seconds
}

#[test]
fn a_clock_set_ahead_ends_a_jwt_in_the_cache() {
    const HOUR: i64 = 3600;
    let Some(faults) = Faults::new() else { return };
    // It does not know what time it is.
    let headers = [
        ("X-Authgear-Session-Valid", "true"),
        ("X-Authgear-User-Id", "alice"),
    ];
    let resolver = Scripted::answering(answer(200, &headers));
    // When it is stored, and when it ends and is looked at, in hours.
    for (stored, ends, looked_at) in [(0, 1, 2), (-2, -1, 0), (5, 6, 7)] {
        let site = caching(&faults, Some(resolver.addr()));
        let mut client = site.nginx.http1();
        let tokens = [ends, 9].map(|hours| jwt("alice-bearer", Some(in_seconds(hours * HOUR))));
        let mut ask = |hours: i64, path: &str| {
            faults.move_time_of_day(hours * HOUR * 1000);
            tokens.each_ref().map(|token| {
                let response = client.request(get(path).bearer(token));
                assert!(is_user(&response, "alice"), "{response:?}");
                cache(&response).to_owned()
            })
        };
        for path in ["/", "/stale"] {
            let what = format!("{path}, {ends} h");
            ask(stored, path);
            assert_eq!(ask(stored, path)[0], "HIT", "{what}");
            for _ in 0..2 {
                let [ended, other] = ask(looked_at, path);
                assert_ne!(ended, "HIT", "{what}");
                assert_ne!(ended, "STALE", "{what}");
                assert_eq!(other, "HIT", "{what}");
            }
        }
    }
}

#[test]
fn a_monotonic_clock_that_is_wrong_costs_entries_only() {
    let Some(faults) = Faults::new() else { return };
    let site = caching(&faults, None);
    let ask = || {
        let response = site.send(alice("/"));
        assert!(is_user(&response, "alice"), "{response:?}");
        cache(&response).to_owned()
    };
    for minutes in [120, 0, 240, 10, 0] {
        let before = [ask(), ask()];
        assert_eq!(before[1], "HIT");
        faults.move_monotonic_clock(minutes * 60 * 1000);
        assert_ne!(ask(), "HIT", "{minutes} minutes");
        assert_eq!(ask(), "HIT", "{minutes} minutes");
    }
}

#[test]
fn who_waits_while_the_clocks_are_set_is_answered() {
    let Some(faults) = Faults::new() else { return };
    let site = caching(&faults, None);
    for (days, hangs) in [(-1, false), (-1, true), (1, false), (1, true)] {
        let what = format!("{days} days, hangs: {hangs}");
        faults.move_time_of_day(0);
        match hangs {
            true => site.resolver.set_fault(Fault::hang()),
            false => site.resolver.clear_fault(),
        }
        site.resolver.set_delay(Duration::from_millis(100));
        let asked = site.resolver.request_count();
        let mut clients: Vec<Http1> = (0..8).map(|_| site.nginx.http1()).collect();
        for client in &mut clients {
            client.send(alice("/hasty").head());
        }
        assert!(site.resolver.wait_for_requests(asked + 1, deadline()));
        faults.move_time_of_day(days * DAY_MS);
        for client in &mut clients {
            let response = client.read_response();
            match hangs {
                true => assert_eq!(response.status, 503, "{what}"),
                // A slow machine may take longer than the timeout.
                false => assert!(
                    response.status == 503 || is_user(&response, "alice"),
                    "{what}: {response:?}"
                ),
            }
        }
        site.resolver.clear_fault();
        site.resolver.set_delay(Duration::ZERO);
        assert!(is_user(&site.send(alice("/")), "alice"), "{what}");
    }
    // Ahead of all timers.
    for _ in 0..3 {
        site.resolver.set_delay(Duration::from_millis(100));
        let asked = site.resolver.request_count();
        let mut clients: Vec<Http1> = (0..4).map(|_| site.nginx.http1()).collect();
        for client in &mut clients {
            client.send(alice("/hasty").head());
        }
        assert!(site.resolver.wait_for_requests(asked + 1, deadline()));
        faults.move_monotonic_clock(3600 * 1000);
        for client in &mut clients {
            match client.read_response_to("GET") {
                Ok(response) => assert!(
                    response.status >= 500 || is_user(&response, "alice"),
                    "{response:?}"
                ),
                Err(e) => assert!(
                    !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                    "hangs: {e}"
                ),
            }
        }
        site.resolver.set_delay(Duration::ZERO);
        assert!(is_user(&site.send(alice("/")), "alice"));
        faults.move_monotonic_clock(0);
        assert!(is_user(&site.send(alice("/")), "alice"));
    }
}

/// A process that stands still, until this value goes.
struct Stopped(Pid);

impl Stopped {
    fn new(pid: u32) -> Self {
        let process = Pid::from_raw(pid as i32).expect("a pid");
        kill_process(process, Signal::STOP).expect("stop the worker");
        let stopped = Self(process);
        eventually("a worker that stands still", || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (_, state) = stat.rsplit_once(')')?;
            state.trim_start().starts_with('T').then_some(())
        });
        stopped
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// Connections to each worker, some.
fn some_of_each(addr: SocketAddr, workers: &[u32]) -> Vec<Vec<Http1>> {
    let mut found: BTreeMap<u32, Vec<Http1>> = BTreeMap::new();
    eventually("connections to each worker", || {
        let mut client = Http1::connect(addr);
        let response = client.request(get("/"));
        let worker = response.header("worker").and_then(|pid| pid.parse().ok());
        found
            .entry(worker.expect("a pid"))
            .or_default()
            .push(client);
        let enough = |worker| found.get(worker).is_some_and(|clients| clients.len() >= 5);
        workers.iter().all(enough).then_some(())
    });
    let of = |worker| found.remove(worker).expect("connections");
    workers.iter().map(of).collect()
}

/// What a resolver says, and whether it says it.
#[derive(Default)]
struct Saying {
    user: AtomicUsize,
    role: AtomicUsize,
    begun: AtomicUsize,
    is_held: AtomicBool,
}

#[test]
fn a_worker_that_stands_still_with_a_call_holds_nobody_up() {
    if Environment::get().valgrind {
        return;
    }
    let saying = Arc::new(Saying::default());
    let said = Arc::clone(&saying);
    let resolver = Scripted::new(move |conversation| {
        while conversation.read_request().is_some() {
            let user = format!("u{}", said.user.load(SeqCst));
            let role = format!("r{}", said.role.load(SeqCst));
            said.begun.fetch_add(1, SeqCst);
            while said.is_held.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
            }
            let headers = [
                ("X-Authgear-Session-Valid", "true"),
                ("X-Authgear-User-Id", &user),
                ("X-Authgear-User-Roles", &role),
            ];
            conversation.send(answer(200, &headers));
        }
    });
    let site = Site::builder()
        .place("resolver", resolver.addr())
        .http(SHOWN)
        .http(
            "authgear_cache_zone zone=auth:64k; authgear_cache auth; authgear_cache_valid 1h;
             authgear_cache_lock_timeout 300ms; authgear_read_timeout 60s;
             authgear_resolve http://%resolver%;",
        )
        .http_after(
            "server {
                 listen %listen:many% reuseport;
                 location / { proxy_pass http://%app%; }
                 location = /purge { authgear_purge; }
             }",
        )
        .nginx(|nginx| nginx.workers(2))
        .start();
    let workers = site.nginx.worker_pids();
    // Whether the user is purged meanwhile. A user of its own, for nothing about a purged one is
    // stored for two seconds.
    for (user, is_purged) in [(1, false), (2, true)] {
        let who = format!("u{user}");
        let asks = || get("/").cookie(&format!("session={who}.secret"));
        let role = |response: &Response| {
            assert!(is_user(response, &who), "{response:?}");
            let seen = response.seen();
            seen.get("x-authgear-user-roles").map(str::to_owned)
        };
        let [mut stopping, mut living] = some_of_each(site.nginx.addr("many"), &workers)
            .try_into()
            .expect("two workers");

        saying.user.store(user, SeqCst);
        saying.role.store(1, SeqCst);
        saying.is_held.store(true, SeqCst);
        let begun = saying.begun.load(SeqCst);
        stopping[0].send(asks().head());
        eventually("the call", || {
            (saying.begun.load(SeqCst) > begun).then_some(())
        });
        let stopped = Stopped::new(workers[0]);
        saying.role.store(2, SeqCst);
        saying.is_held.store(false, SeqCst);

        // The others wait, and then ask themselves.
        let sent = Instant::now();
        for client in &mut living {
            client.send(asks().head());
        }
        for client in &mut living {
            assert_eq!(role(&client.read_response()).as_deref(), Some("r2"));
        }
        assert!(sent.elapsed() >= Duration::from_millis(250));
        site.nginx.wait_for_log("cache lock timed out, resolving");
        if is_purged {
            saying.role.store(3, SeqCst);
            let purge = request("DELETE", &format!("/purge?user={who}"));
            assert_eq!(living[0].request(purge).status, 204);
        }

        drop(stopped);
        let late = stopping[0].read_response();
        assert_eq!(role(&late).as_deref(), Some("r1"));
        // What it brought is nobody else's.
        let now = if is_purged { "r3" } else { "r2" };
        for client in [&mut stopping[1], &mut living[1]] {
            let response = client.request(asks());
            assert_eq!(role(&response).as_deref(), Some(now), "{response:?}");
            assert!(is_purged || cache(&response) == "HIT", "{response:?}");
        }
    }
}
