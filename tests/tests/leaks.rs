//! Requests of all kinds and reloads, many of them: memory and descriptors stay as they are.
//!
//! `make leaks` makes a hundred thousand requests and a hundred reloads.

use std::time::{Duration, Instant};

use authgear_integration::{
    descriptors, eventually, get, memory_kib, post, request, signature, Environment, Http1,
    Request, Site, Trend,
};
use authgear_resolver_double::{Session, Store, User};

const SECRET: &str = "whsec_3f1c";
const WORKERS: usize = 2;
/// More than the zone has room for, so that each turn's is gone when it is its turn again.
const SESSIONS: usize = 1000;

const HTTP: &str = "
    authgear_cache_zone zone=auth:64k;
    authgear_cache_valid 1h;
    authgear_resolve http://%resolver%;
    authgear_login https://auth.example/?to=$authgear_return_url;
";

const SERVER: &str = "
    location / { authgear_cache auth; authgear_require session; proxy_pass http://%app%; }
    location /uncached { authgear_require session; proxy_pass http://%app%; }
    location /open { authgear_cache auth; proxy_pass http://%app%; }
    location /refresh {
        authgear_cache auth; authgear_cache_refresh 1ms;
        authgear_require session; proxy_pass http://%app%;
    }
    location /down { authgear_resolve http://127.0.0.1:1; proxy_pass http://%app%; }
    location = /webhook { authgear_webhook secret; }
    location = /purge { authgear_purge; }
    location = /status { authgear_status; }
";

fn site() -> Site {
    let store = (0..SESSIONS).fold(Store::new(), |store, n| {
        let user = format!("u{n}");
        store
            .user(User::new(&user).roles(["editor"]))
            .session(Session::cookie(&format!("s{n}.secret"), &user))
    });
    let slow = Session::cookie("slow.secret", "u0").delay(Duration::from_millis(20));
    Site::builder()
        .store(store.session(slow))
        .http(HTTP)
        .server(SERVER)
        .nginx(|nginx| {
            nginx
                .file("secret", SECRET)
                .workers(WORKERS)
                .log_level("warn")
        })
        .start()
}

fn with_session(path: &str, n: usize) -> Request {
    get(path).cookie(&format!("session=s{}.secret", n % SESSIONS))
}

fn webhook(n: usize) -> Request {
    let body = format!(
        r#"{{"id":"1","seq":1,"type":"user.disabled","payload":{{"user":{{"id":"u{n}"}}}},"context":{{}}}}"#
    );
    let mac = signature(SECRET, body.as_bytes());
    post("/webhook", body).header("x-authgear-body-signature", &mac)
}

/// Clients that make one request of each kind after the other.
struct Clients<'s> {
    site: &'s Site,
    next: usize,
}

impl Clients<'_> {
    fn make(&mut self, requests: usize) {
        let mut client = self.site.nginx.http1();
        for _ in 0..requests {
            self.next += 1;
            let n = self.next;
            let unknown = get("/").cookie(&format!("session=unknown{n}"));
            let (request, expected) = match n % 12 {
                0 | 1 => (with_session("/", n), 200),
                2 => (with_session("/", n - 1), 200),
                3 => (with_session("/uncached", n), 200),
                4 => (with_session("/refresh", n / 24), 200),
                5 => (get("/open"), 200),
                6 => (unknown.header("Accept", "application/json"), 401),
                7 => (with_session("/down", n), 503),
                8 => (webhook(n), 204),
                9 => (
                    request("DELETE", &format!("/purge?user=u{n}&session=x")),
                    204,
                ),
                10 => (get("/page?a=b").header("Accept", "text/html"), 302),
                _ => {
                    self.leave();
                    continue;
                }
            };
            let response = client.request(request);
            assert_eq!(response.status, expected, "{n}: {response:?}");
        }
    }

    /// Leaves while the resolver is asked.
    fn leave(&self) {
        let mut client = Http1::connect(self.site.nginx.addr("http1"));
        client.send(get("/uncached").cookie("session=slow.secret").head());
        if self.next % 24 == 11 {
            client.reset();
        }
    }
}

/// What nginx takes of the machine.
#[derive(Clone, Copy, Debug)]
struct Sample {
    master_kib: u64,
    workers_kib: u64,
    descriptors: u64,
}

type Measure = (&'static str, fn(&Sample) -> u64, u64);

/// What must not grow, and how much it may differ by chance.
const MEASURES: [Measure; 3] = [
    ("memory of the master, KiB", |sample| sample.master_kib, 128),
    (
        "memory of the workers, KiB",
        |sample| sample.workers_kib,
        256,
    ),
    ("descriptors", |sample| sample.descriptors, 4),
];

/// Taken of a worker whose clients have gone, and whose connections to the peers are closed.
fn sample(site: &Site) -> Sample {
    let open = |pid| descriptors(pid).unwrap_or_default();
    let all = || -> usize {
        let workers = site.nginx.worker_pids();
        workers.into_iter().map(open).sum::<usize>() + open(site.nginx.pid())
    };
    eventually("the old workers' end", || {
        (site.nginx.leaving_pids().is_empty() && site.nginx.worker_pids().len() == WORKERS)
            .then_some(())
    });
    let open = site.at_rest(all);
    // Not of files, which other processes of this machine have a share in.
    let pss = |pid| {
        let kib = |line| memory_kib(pid, line).expect("smaps_rollup");
        kib("Pss_Anon") + kib("Pss_Shmem")
    };
    Sample {
        master_kib: pss(site.nginx.pid()),
        workers_kib: site.nginx.worker_pids().into_iter().map(pss).sum(),
        descriptors: open as u64,
    }
}

/// Compares the second quarter of the samples with the last.
fn judge(what: &str, samples: &[Sample]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, of, chance) in MEASURES {
        let values: Vec<u64> = samples.iter().map(of).collect();
        let Trend { early, late } = Trend::of(&values);
        println!("{what}: {name}: {early}, then {late}");
        if late > early + chance {
            complaints.push(format!("{what}: {name}: {early}, then {late}: {values:?}"));
        }
    }
    complaints
}

#[test]
fn requests_and_reloads_leave_nothing_behind() {
    if Environment::get().valgrind {
        return;
    }
    let is_long = std::env::var("AUTHGEAR_LEAKS").is_ok_and(|value| value == "all");
    let (requests, reloads) = if is_long { (100_000, 100) } else { (3_000, 6) };
    let start = Instant::now();
    let mut site = site();

    // Half of the requests by the same workers.
    let turns = 20;
    let mut samples = Vec::new();
    let mut next = 0;
    for _ in 0..turns {
        let mut clients = Clients { site: &site, next };
        clients.make(requests / 2 / turns);
        next = clients.next;
        samples.push(sample(&site));
    }
    let mut complaints = judge("requests", &samples);

    samples.clear();
    for _ in 0..reloads {
        site.nginx.reload();
        let mut clients = Clients { site: &site, next };
        clients.make(requests / 2 / reloads);
        next = clients.next;
        samples.push(sample(&site));
    }
    complaints.extend(judge("reloads", &samples));
    println!(
        "{next} requests and {reloads} reloads in {:?}",
        start.elapsed()
    );
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
