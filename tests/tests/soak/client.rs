//! Those who make the requests.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use authgear_integration::{Http1, Random, Request, Response};

use crate::world::{Judged, Sent, World, Wrong};

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) requests: usize,
    /// Those of the ones who make events, beside the requests.
    pub(crate) apart: usize,
    pub(crate) cache: BTreeMap<String, usize>,
    pub(crate) valid: usize,
    pub(crate) nobody: usize,
    pub(crate) refused: usize,
    pub(crate) forbidden: usize,
    pub(crate) excused: usize,
    pub(crate) wrong_identities: usize,
    pub(crate) wrong_statuses: usize,
    pub(crate) hangs: usize,
    /// Tries that ended with their connection.
    pub(crate) lost: usize,
    pub(crate) lost_unexplained: usize,
    pub(crate) left_early: usize,
    pub(crate) pipelined: usize,
    pub(crate) slowest: Duration,
    /// Numbers of answers, by the power of two of their microseconds.
    pub(crate) times: [usize; 32],
    pub(crate) complaints: Vec<String>,
}

impl Tally {
    pub(crate) fn judge(&mut self, world: &World, sent: &Sent, response: &Response) {
        match world.judge(sent, response) {
            Ok(Judged::Valid) => self.valid += 1,
            Ok(Judged::Nobody) => self.nobody += 1,
            Ok(Judged::Refused) => self.refused += 1,
            Ok(Judged::Forbidden) => self.forbidden += 1,
            Ok(Judged::Excused) => self.excused += 1,
            Err(Wrong::Identity(what)) => {
                self.wrong_identities += 1;
                self.complain(format!("wrong identity: {what}"));
            }
            Err(Wrong::Status(what)) => {
                self.wrong_statuses += 1;
                self.complain(format!("unexplained status {what}"));
            }
        }
    }

    /// A connection has ended before its answer.
    pub(crate) fn lose(&mut self, world: &World, sent: Instant, error: &io::Error) {
        if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
            self.hangs += 1;
            self.complain(format!("no answer: {error}"));
            return;
        }
        self.lost += 1;
        if !world.has_reloaded(sent) {
            self.lost_unexplained += 1;
            self.complain(format!("a connection ended without a reload: {error}"));
        }
    }

    pub(crate) fn complain(&mut self, what: String) {
        if self.complaints.len() < 5 {
            eprintln!("{what}");
            self.complaints.push(what);
        }
    }

    pub(crate) fn hits(&self) -> usize {
        self.cache.get("HIT").copied().unwrap_or_default()
    }

    pub(crate) fn add(&mut self, other: Tally) {
        self.requests += other.requests;
        for (status, count) in &other.cache {
            *self.cache.entry(status.clone()).or_default() += count;
        }
        for (sum, count) in self.times.iter_mut().zip(other.times) {
            *sum += count;
        }
        self.slowest = self.slowest.max(other.slowest);
        self.left_early += other.left_early;
        self.pipelined += other.pipelined;
        self.valid += other.valid;
        self.nobody += other.nobody;
        self.refused += other.refused;
        self.forbidden += other.forbidden;
        self.excused += other.excused;
        self.add_apart(other);
    }

    /// What went wrong for one who made no requests that count.
    pub(crate) fn add_apart(&mut self, other: Tally) {
        self.apart += other.apart;
        self.wrong_identities += other.wrong_identities;
        self.wrong_statuses += other.wrong_statuses;
        self.hangs += other.hangs;
        self.lost += other.lost;
        self.lost_unexplained += other.lost_unexplained;
        self.complaints.extend(other.complaints);
    }
}

/// Makes requests until there are none left to make.
pub(crate) fn run(world: &World, addr: SocketAddr, seed: u64, left: &AtomicUsize) -> Tally {
    let mut tally = Tally::default();
    let mut random = Random::new(seed);
    let mut connection = None;
    loop {
        // Most wait for an answer before they ask again.
        let depth = match random.below(5) {
            0..=2 => 1,
            _ => 1 + random.below(6),
        };
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
            n.checked_sub(depth.min(n.max(1)))
        });
        let Ok(before) = taken else {
            return tally;
        };
        let depth = depth.min(before);
        if random.once_in(150) {
            leave_early(&world.any(&mut random), addr, &mut random);
            tally.left_early += 1;
        }
        let batch: Vec<Sent> = (0..depth).map(|_| world.any(&mut random)).collect();
        tally.pipelined += depth - 1;
        converse(world, addr, &mut connection, &batch, &mut tally);
    }
}

/// Sends these at once, again as far as a connection ends before they are answered.
fn converse(
    world: &World,
    addr: SocketAddr,
    connection: &mut Option<Http1>,
    batch: &[Sent],
    tally: &mut Tally,
) {
    let mut answered = 0;
    while answered < batch.len() {
        let to = connection.get_or_insert_with(|| Http1::connect(addr));
        let wire: Vec<u8> = batch[answered..]
            .iter()
            .flat_map(|sent| sent.request.head())
            .collect();
        let started = Instant::now();
        // What was answered before it ended is there to be read.
        let _ = to.try_send(wire);
        loop {
            let response = match to.read_response_to("GET") {
                Ok(response) => response,
                Err(error) => {
                    tally.lose(world, started, &error);
                    let hangs = error.kind() == ErrorKind::WouldBlock;
                    answered += usize::from(hangs);
                    tally.requests += usize::from(hangs);
                    *connection = None;
                    break;
                }
            };
            tally.count(&response, started.elapsed());
            tally.judge(world, &batch[answered], &response);
            answered += 1;
            if response.header("Connection") == Some("close") {
                *connection = None;
                break;
            }
            if answered == batch.len() {
                return;
            }
        }
    }
}

impl Tally {
    fn count(&mut self, response: &Response, took: Duration) {
        self.requests += 1;
        self.slowest = self.slowest.max(took);
        let micros = took.as_micros().max(1) as u64;
        self.times[(micros.ilog2() as usize).min(31)] += 1;
        let cache = response.header("cache").unwrap_or("-");
        match self.cache.get_mut(cache) {
            Some(count) => *count += 1,
            None => _ = self.cache.insert(cache.to_owned(), 1),
        }
    }

    /// The time within which this part of the answers came, up to a power of two.
    pub(crate) fn within(&self, part: f64) -> Duration {
        let wanted = (self.requests as f64 * part) as usize;
        let mut sum = 0;
        for (power, count) in self.times.iter().enumerate() {
            sum += count;
            if sum >= wanted {
                return Duration::from_micros(2 << power);
            }
        }
        self.slowest
    }
}

/// Asks and does not wait for the answer, or not long.
fn leave_early(sent: &Sent, addr: SocketAddr, random: &mut Random) {
    let mut connection = Http1::connect(addr);
    let _ = connection.try_send(sent.request.head());
    if random.once_in(2) {
        sleep(Duration::from_micros(random.below(2_000) as u64));
    }
    if random.once_in(2) {
        connection.reset();
    }
}

/// One request on a connection of its own, again as long as reloads end that.
pub(crate) fn ask(
    world: &World,
    addr: SocketAddr,
    request: &Request,
    tally: &mut Tally,
) -> Option<Response> {
    for _ in 0..20 {
        let started = Instant::now();
        tally.apart += 1;
        match Http1::connect(addr).try_request(request) {
            Ok(response) => return Some(response),
            Err(error) => tally.lose(world, started, &error),
        }
    }
    tally.complain(format!("never answered: {request:?}"));
    None
}
