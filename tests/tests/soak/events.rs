//! Those who change roles, sign out and in, and tell nginx about it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use authgear_integration::{get, post, request, signature, Random, Request, Response};
use authgear_resolver_double::Kind;

use crate::client::{ask, Tally};
use crate::world::{kind_of, name_of, Held, Place, World};
use crate::{Plan, SECRET};

/// How many there are, each with users of its own.
pub(crate) const MAKERS: usize = 2;

/// How many of each.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) webhooks: usize,
    pub(crate) purges: usize,
    pub(crate) told_nobody: usize,
    pub(crate) log_outs: usize,
    pub(crate) log_ins: usize,
    pub(crate) revocations: usize,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Counts) {
        self.webhooks += other.webhooks;
        self.purges += other.purges;
        self.told_nobody += other.told_nobody;
        self.log_outs += other.log_outs;
        self.log_ins += other.log_ins;
        self.revocations += other.revocations;
    }
}

struct Maker<'w> {
    world: &'w World,
    addr: SocketAddr,
    random: Random,
    counts: Counts,
    tally: Tally,
}

pub(crate) fn run(
    world: &World,
    addr: SocketAddr,
    maker: usize,
    plan: &Plan,
    left: &AtomicUsize,
) -> (Counts, Tally) {
    let mut it = Maker {
        world,
        addr,
        random: Random::new(1_000 + maker as u64),
        counts: Counts::default(),
        tally: Tally::default(),
    };
    // What nobody was told is known when all answers from before are too old, stale ones too, and
    // whoever waited has given up.
    let until_known = 2 * plan.valid + Duration::from_secs(8);
    let mut unknown = VecDeque::new();
    while left.load(Ordering::Relaxed) > 0 {
        sleep(plan.event_every);
        while let Some(&(since, user, version)) = unknown.front() {
            if Instant::now() < since + until_known {
                break;
            }
            world.roles_are_known(user, version);
            unknown.pop_front();
        }
        let n = world.pick(&mut it.random);
        if n / 2 % MAKERS != maker {
            continue;
        }
        world.look_at(n, &mut it.random);
        match it.random.below(7) {
            0 | 1 => it.roles_with_a_webhook(n),
            2 => it.roles_with_a_purge(n),
            3 => {
                let version = world.change_roles(n / 2);
                unknown.push_back((Instant::now(), n / 2, version));
                it.counts.told_nobody += 1;
            }
            _ if kind_of(n) == Kind::Session => it.out_and_in(n),
            _ => it.revoked(n),
        }
        it.visit(n);
    }
    (it.counts, it.tally)
}

impl Maker<'_> {
    fn roles_with_a_webhook(&mut self, n: usize) {
        let version = self.world.change_roles(n / 2);
        let body = format!(
            r#"{{"id":"1","seq":1,"type":"user.profile.updated","payload":{{"user":{{"id":"{}"}}}}}}"#,
            name_of(n / 2)
        );
        let signature = signature(SECRET, body.as_bytes());
        let event = post("/hook", body).header("x-authgear-body-signature", &signature);
        self.tell(&event);
        self.world.roles_are_known(n / 2, version);
        self.counts.webhooks += 1;
    }

    fn roles_with_a_purge(&mut self, n: usize) {
        let version = self.world.change_roles(n / 2);
        self.tell(&request(
            "DELETE",
            &format!("/purge?user={}", name_of(n / 2)),
        ));
        self.world.roles_are_known(n / 2, version);
        self.counts.purges += 1;
    }

    /// A browser's log-out and log-in, through Authgear's pages behind this nginx.
    fn out_and_in(&mut self, n: usize) {
        let held = self.world.held(n);
        self.world.may_end(n, held.generation);
        let cookie = format!("session={}", held.value);
        // While it stays away from restarts, for the double to remember.
        let (world, random_page) = (self.world, self.random.once_in(2));
        let out = world.with_resolver(|_| self.page(&get("/logout").cookie(&cookie)));
        if out.status != 200 {
            self.tally.complain(format!("no log-out: {out:?}"));
            return;
        }
        world.end_is_known(n, held.generation);
        self.counts.log_outs += 1;
        self.refused(n, &held);
        if random_page {
            world.sign_in(n, &held);
            return;
        }
        let form = format!("user={}&redirect_uri=http://site.example/", name_of(n / 2));
        let form = post("/login", form).header("Content-Type", "application/x-www-form-urlencoded");
        let landed = world.with_resolver(|_| self.page(&form));
        let cookie = landed.header("Set-Cookie").unwrap_or_default();
        let value = cookie
            .strip_prefix("session=")
            .and_then(|c| c.split(';').next());
        match value {
            Some(value) => world.signed_in(n, &held, value.to_owned()),
            None => self.tally.complain(format!("no log-in: {landed:?}")),
        }
        self.counts.log_ins += 1;
    }

    /// The app ends a session through Authgear's Admin API, and says so.
    fn revoked(&mut self, n: usize) {
        let held = self.world.held(n);
        self.world.may_end(n, held.generation);
        self.world.revoke(&held);
        self.tell(&post(&format!("/purge?user={}", name_of(n / 2)), ""));
        self.world.end_is_known(n, held.generation);
        self.counts.revocations += 1;
        self.refused(n, &held);
        self.world.sign_in(n, &held);
    }

    /// Nobody may use that one any more.
    fn refused(&mut self, n: usize, held: &Held) {
        for place in [Place::Open, Place::Members] {
            let (value, generation) = (&held.value, held.generation);
            let world = self.world;
            let sent = world.with(n, place, value, generation, None, &mut self.random);
            if let Some(response) = ask(world, self.addr, &sent.request, &mut self.tally) {
                self.tally.judge(world, &sent, &response);
            }
        }
    }

    /// On connections of their own, and so to workers of all kinds.
    fn visit(&mut self, n: usize) {
        for place in [Place::Open, Place::Staff] {
            let sent = self.world.of(n, place, &mut self.random);
            if let Some(response) = ask(self.world, self.addr, &sent.request, &mut self.tally) {
                self.tally.judge(self.world, &sent, &response);
            }
        }
    }

    /// An answer of the resolver's pages, which has to be there.
    fn page(&mut self, request: &Request) -> Response {
        let sent = Instant::now();
        loop {
            let Some(response) = ask(self.world, self.addr, request, &mut self.tally) else {
                return Response::default();
            };
            if response.status < 500 {
                return response;
            }
            if !self.world.is_excused(sent) {
                self.tally.wrong_statuses += 1;
                self.tally.complain(format!("a page: {response:?}"));
                return response;
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Tells nginx, which has to acknowledge it.
    fn tell(&mut self, request: &Request) {
        let response = ask(self.world, self.addr, request, &mut self.tally);
        if response.as_ref().map(|response| response.status) != Some(204) {
            self.tally.wrong_statuses += 1;
            self.tally.complain(format!("{request:?}: {response:?}"));
        }
    }
}
