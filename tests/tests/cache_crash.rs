//! A worker killed at each write inside the critical section: entries may be lost, none may be wrong,
//! and nobody hangs.
//!
//! It takes a module that can be told where to die: `make test-crash`.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use authgear_integration::{eventually, get, Http1, Request, Response, Site};
use authgear_resolver_double::{Fault, Session, Store, User};

/// What is there before each kill.
const RESIDENTS: usize = 12;
/// How many sessions there are.
const SESSIONS: usize = 4000;

const HTTP: &str = "
    authgear_cache_zone zone=auth:%size%;
    authgear_cache_valid 1h; authgear_cache_valid invalid 1h;
    authgear_cache auth; authgear_resolve http://%resolver%;
    add_header cache $authgear_cache_status always;
    add_header user $authgear_user_id always;
    add_header outcome $authgear_outcome always;
";

/// An nginx whose workers die where they are told to.
struct Mortal {
    site: Site,
    order: PathBuf,
    next: usize,
    /// The session that was made ready for the change.
    ready: usize,
}

impl Mortal {
    /// With a zone of this size.
    fn start(size: &str) -> Self {
        let store = (0..SESSIONS).fold(Store::new(), |store, n| {
            let user = format!("user-{n}");
            store
                .user(User::new(&user).roles(["editor", "reviewer"]))
                .session(Session::cookie(&format!("s{n}.secret"), &user).amr(["pwd", "otp"]))
        });
        let site = Site::builder()
            .store(store)
            .place("size", size)
            .http(HTTP)
            .server(
                "location / { proxy_pass http://%app%; }
                 location /again { authgear_cache_bypass 1; proxy_pass http://%app%; }
                 location /expired { authgear_cache_valid 0; proxy_pass http://%app%; }",
            )
            .nginx(|nginx| {
                nginx
                    .http_after(
                        "server {
                             listen %listen:many% reuseport;
                             location / { proxy_pass http://%app%; }
                         }",
                    )
                    .main("env AUTHGEAR_KILL_POINT=%prefix%/kill-point;")
                    .workers(2)
                    .log_level("warn")
            })
            .expect_in_log("exited on signal 9")
            .expect_in_log("was locked by")
            .start();
        let order = site.nginx.prefix().join("kill-point");
        Self {
            site,
            order,
            next: RESIDENTS,
            ready: 0,
        }
    }

    fn deaths(&self) -> usize {
        self.site
            .nginx
            .error_log()
            .matches("exited on signal 9")
            .count()
    }

    fn emptied(&self) -> usize {
        self.site.nginx.error_log().matches("was emptied").count()
    }

    /// A session that nobody has asked for yet.
    fn fresh(&mut self) -> usize {
        self.next += 1;
        assert!(self.next < SESSIONS, "more sessions");
        self.next - 1
    }

    /// Tells the worker that takes the next step.
    fn tell(&self, order: &str) {
        let draft = self.order.with_extension("draft");
        fs::write(&draft, order).expect("an order");
        fs::rename(&draft, &self.order).expect("an order");
    }

    /// A response; none if its worker died.
    fn ask(&self, request: &Request) -> Option<Response> {
        match self.site.nginx.http1().try_request(request) {
            Ok(response) => Some(response),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("{request:?} hangs: {e}")
            }
            Err(_) => None,
        }
    }

    /// The session's user is told, and no other.
    fn check(&self, n: usize) -> String {
        // One that was told to die may do so late.
        let response = eventually("a worker that lives", || self.ask(&session(n)));
        let user = format!("user-{n}");
        assert_eq!(response.header("user"), Some(user.as_str()), "{response:?}");
        assert_eq!(
            response.seen().get("x-authgear-user-id"),
            Some(user.as_str())
        );
        response.header("cache").unwrap_or_default().to_owned()
    }

    /// Kills a worker at each write of `change`, one after the other, until there are no more writes;
    /// how many there were.
    fn kill_at_each_write(&mut self, change: impl Fn(&mut Self)) -> u64 {
        for write in 0..2000 {
            for n in 0..RESIDENTS {
                self.check(n);
            }
            self.ready = self.fresh();
            self.check(self.ready);
            let (deaths, emptied) = (self.deaths(), self.emptied());
            self.tell(&write.to_string());
            change(self);
            let order_was_read = !self.order.exists();
            assert!(order_was_read, "this module cannot be told to die");

            let died = self.deaths() > deaths;
            if !died {
                // It may take a moment until the death is logged; a pending order is taken back.
                self.tell("live");
                self.check(0);
                if self.deaths() == deaths {
                    return write;
                }
            }
            for n in 0..RESIDENTS {
                self.check(n);
            }
            // In a full zone one may push out another, until a second has passed since it was used.
            eventually(&format!("a zone that works after write {write}"), || {
                let hits = (0..RESIDENTS).filter(|n| self.check(*n) == "HIT").count();
                (hits == RESIDENTS).then_some(())
            });
            assert!(self.emptied() <= emptied + 1, "write {write}");
        }
        panic!("it never ends");
    }
}

fn session(n: usize) -> Request {
    get("/").cookie(&format!("session=s{n}.secret"))
}

#[test]
#[ignore = "needs a module with the feature kill-points"]
fn a_worker_killed_at_any_write_leaves_a_zone_that_works() {
    type Change = fn(&mut Mortal);
    let changes: [(&str, &str, Change); 7] = [
        ("a new session", "1m", |mortal| {
            let n = mortal.fresh();
            mortal.ask(&session(n));
        }),
        ("an eviction", "32k", |mortal| {
            let n = mortal.fresh();
            mortal.ask(&session(n));
        }),
        ("an invalid session", "1m", |mortal| {
            let n = mortal.fresh();
            mortal.ask(&get("/").cookie(&format!("session=none{n}")));
        }),
        ("a session stored again", "1m", |mortal| {
            mortal.ask(&get("/again").cookie("session=s3.secret"));
        }),
        ("an expired session", "1m", |mortal| {
            mortal.ask(&get("/expired").cookie("session=s3.secret"));
        }),
        ("a failure", "1m", |mortal| {
            let n = mortal.fresh();
            mortal.site.resolver.fault_once(Fault::status(500));
            mortal.ask(&session(n));
            mortal.site.resolver.clear_fault();
        }),
        ("a log-out", "1m", |mortal| {
            let cookie = format!("session=s{}.secret", mortal.ready);
            mortal.ask(&get("/setcookie?c=session=").cookie(&cookie));
        }),
    ];
    for (name, size, change) in changes {
        let mut mortal = Mortal::start(size);
        if name == "an eviction" {
            eventually("a full zone", || {
                let n = mortal.fresh();
                mortal.check(n);
                mortal
                    .site
                    .nginx
                    .error_log()
                    .contains("is full")
                    .then_some(())
            });
        }
        let writes = mortal.kill_at_each_write(change);
        println!(
            "{name}: killed at {writes} writes, emptied {} times",
            mortal.emptied()
        );
        assert!(writes > 5, "{name}: {writes} writes");
        assert!(mortal.emptied() > 0);
        // New workers with new clothes.
        mortal.site.nginx.reload();
        mortal.check(0);
    }
}

#[test]
#[ignore = "needs a module with the feature kill-points"]
fn those_who_wait_for_a_worker_that_dies_in_its_change_are_served() {
    let mortal = Mortal::start("1m");
    let addr = mortal.site.nginx.addr("many");
    for write in (0..60).step_by(7) {
        let request = session(100 + write);
        mortal.site.resolver.set_delay(Duration::from_millis(150));
        let mut clients: Vec<Http1> = (0..20).map(|_| Http1::connect(addr)).collect();
        for client in &mut clients {
            client.send(request.head());
        }
        std::thread::sleep(Duration::from_millis(75));
        let deaths = mortal.deaths();
        // The next step is likely the end of the call.
        mortal.tell(&write.to_string());
        let mut served = 0;
        for client in &mut clients {
            match client.read_response_to("GET") {
                Ok(response) => {
                    let user = format!("user-{}", 100 + write);
                    assert_eq!(response.header("user"), Some(user.as_str()), "{response:?}");
                    served += 1;
                }
                Err(e) => assert!(
                    !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                    "hangs: {e}"
                ),
            }
        }
        mortal.site.resolver.set_delay(Duration::ZERO);
        mortal.tell("live");
        for n in 0..RESIDENTS {
            mortal.check(n);
        }
        println!(
            "killed at write {write}: {served} of 20 served, {} deaths",
            mortal.deaths() - deaths
        );
    }
    let mut site = mortal.site;
    site.nginx.reload();
}
