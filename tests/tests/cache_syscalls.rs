//! A hit makes no system call of its own: strace counts those of a plain proxy and of a hit.
//!
//! ```console
//! $ cargo test -p authgear-integration --test cache_syscalls -- --ignored --nocapture
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use authgear_integration::{eventually, get, Site, ALICE};
use rustix::process::{kill_process, Pid, Signal};

const REQUESTS: usize = 500;

/// The system calls of the worker while these requests are made on one connection.
fn count(site: &Site, path: &str) -> BTreeMap<String, usize> {
    let request = get(path).cookie(ALICE);
    let mut client = site.nginx.http1();
    for _ in 0..3 {
        assert_eq!(client.request(request.clone()).status, 200);
    }
    let [worker] = site.nginx.worker_pids()[..] else {
        panic!("one worker");
    };
    let trace = site.nginx.prefix().join("trace");
    let mut strace = Command::new("strace")
        .args(["-qq", "-p", &worker.to_string(), "-o"])
        .arg(&trace)
        .stderr(Stdio::null())
        .spawn()
        .expect("strace");
    eventually("strace is attached", || {
        let status = fs::read_to_string(format!("/proc/{worker}/status")).ok()?;
        let tracer = status.lines().find(|line| line.starts_with("TracerPid:"))?;
        (!tracer.ends_with("\t0")).then_some(())
    });
    for _ in 0..REQUESTS {
        assert_eq!(client.request(request.clone()).status, 200);
    }
    let pid = Pid::from_child(&strace);
    kill_process(pid, Signal::INT).expect("stop strace");
    strace.wait().expect("strace");

    let trace = fs::read_to_string(&trace).expect("the trace");
    let mut calls = BTreeMap::new();
    for line in trace.lines() {
        let Some((name, rest)) = line.split_once('(') else {
            continue;
        };
        // To see that nothing is there to read yet is a matter of time, not of the module.
        if !rest.contains("EAGAIN") {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    calls
}

#[test]
#[ignore = "needs strace"]
fn a_hit_makes_no_system_call_of_its_own() {
    let site = Site::builder()
        .http(
            "upstream app { server %app%; keepalive 8; }
             proxy_http_version 1.1; proxy_set_header Connection '';
             authgear_cache_zone zone=auth:1m; authgear_cache_valid 1h;
             access_log off;",
        )
        .server(
            "location /plain { proxy_pass http://app; }
             location /hit {
                 authgear_cache auth; authgear_resolve http://%resolver%;
                 authgear_require session; proxy_pass http://app;
             }",
        )
        .start();
    let (plain, hit) = (count(&site, "/plain"), count(&site, "/hit"));
    assert_eq!(site.resolver.request_count(), 1);
    let per_request = |calls: &BTreeMap<String, usize>| {
        let sum: usize = calls.values().sum();
        sum as f64 / REQUESTS as f64
    };
    println!(
        "plain proxy: {:.2} a request, {plain:?}",
        per_request(&plain)
    );
    println!("cache hit:   {:.2} a request, {hit:?}", per_request(&hit));
    // A call in every hundredth request would show.
    let names = plain.keys().chain(hit.keys());
    for name in names {
        let of = |calls: &BTreeMap<String, usize>| calls.get(name).copied().unwrap_or(0);
        if name != "epoll_wait" {
            assert!(of(&hit) < of(&plain) + REQUESTS / 100, "{name}");
        }
    }
    assert!(per_request(&hit) < per_request(&plain) + 0.2);
}
