//! The cache over a region that holds, or comes to hold, arbitrary bytes.
//!
//! No call panics or runs for ever, the zone works again once it was emptied, and as long as nothing
//! was damaged a key gives its own value only.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use authgear_cache::{
    Answer, Asker, Flight, Key, Lock, Lookup, Owner, Policy, Poll, Seed, SessionTag, Settled, Time,
    UserTag, Zone,
};

const WORDS: usize = 2000;
/// Whose zone it is, and what no process reads again.
const IDENTITY_WORDS: usize = 3;
const DIRTY: usize = 3;

pub fn run(input: &[u8]) {
    play(&mut Input(input));
}

struct Input<'i>(&'i [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn word(&mut self) -> u64 {
        let n = self.0.len().min(8);
        let (head, rest) = self.0.split_at(n);
        self.0 = rest;
        let mut bytes = [0; 8];
        bytes[..n].copy_from_slice(head);
        u64::from_le_bytes(bytes)
    }

    fn place(&mut self) -> usize {
        let (low, high) = (self.byte().unwrap_or(0), self.byte().unwrap_or(0));
        usize::from(u16::from_le_bytes([low, high])) % WORDS
    }
}

fn play(input: &mut Input) -> Option<()> {
    let region: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
    // What a zone of another time or version left there.
    if input.byte()? & 1 == 1 {
        for word in &region {
            word.store(input.word(), Ordering::Relaxed);
        }
    }
    let seed = Seed([1, 2]);
    let start = Time::from_millis(1_000_000);
    let (zone, _) = Zone::attach(&region, seed, start).expect("large enough");

    let mut play = Play {
        region: &region,
        zone,
        now: 1_000_000,
        damaged: false,
        flights: Vec::new(),
        tickets: Vec::new(),
    };
    while let Some(step) = input.byte() {
        play.step(step, input);
    }
    play.heal();
    Some(())
}

struct Play<'r> {
    region: &'r [AtomicU64],
    zone: Zone<'r>,
    now: u64,
    damaged: bool,
    flights: Vec<(u8, Flight)>,
    tickets: Vec<(u8, authgear_cache::Ticket)>,
}

impl Play<'_> {
    fn step(&mut self, step: u8, input: &mut Input) {
        let key = input.byte().unwrap_or(0);
        if step % 16 == 0 {
            let (place, value) = (input.place(), input.word());
            if place >= IDENTITY_WORDS {
                self.region[place].store(value, Ordering::Relaxed);
                self.damaged = true;
            }
            return;
        }
        if step % 16 == 1 {
            // Small numbers are what links are made of.
            let (place, value) = (input.place(), u64::from(key));
            if place >= IDENTITY_WORDS {
                self.region[place].store(value << 32 | value >> 4, Ordering::Relaxed);
                self.damaged = true;
            }
            return;
        }
        let policy = policy(step);
        let alive = |owner: Owner| owner.pid != 3;
        let asker = Asker {
            owner: Owner {
                pid: u32::from(step >> 6),
                slot: 0,
            },
            alive: &alive,
        };
        let mut value = Vec::new();
        self.now += u64::from(step >> 4) * 50;
        let Ok(mut zone) = self.zone.enter(Time::from_millis(self.now)) else {
            panic!("its first words were left alone");
        };
        let mut used = None;
        match step % 16 {
            2 => used = zone.fresh(&key_of(key), &policy, &mut value).map(|_| key),
            3..=4 => match zone.lookup(&key_of(key), &policy, &asker, &mut value) {
                Lookup::Hit(_) | Lookup::Stale(_) => used = Some(key),
                Lookup::Refresh(_, flight) => {
                    used = Some(key);
                    self.flights.push((key, flight));
                }
                Lookup::Resolve(flight, _) => self.flights.push((key, flight)),
                Lookup::Wait(ticket) => self.tickets.push((key, ticket)),
            },
            5 => {
                if let Some((of, ticket)) = self.tickets.last() {
                    match zone.poll(ticket, &policy, &asker, &mut value) {
                        Poll::Answered(_) => used = Some(*of),
                        Poll::Resolve(flight) => self.flights.push((*of, flight)),
                        Poll::Failed | Poll::Pending => {}
                    }
                }
            }
            6..=8 => {
                if let Some((of, flight)) = pick(&mut self.flights, key) {
                    let bytes = vec![of; 1 + usize::from(key) * 3];
                    let _ = zone.settle(
                        flight,
                        Answer::Valid {
                            value: &bytes,
                            user: UserTag::new(u64::from(of % 4)),
                            session: (of % 3 != 0).then(|| SessionTag::new(u64::from(of % 8))),
                            use_until: (key % 5 == 0)
                                .then(|| Time::from_millis(self.now + u64::from(key))),
                        },
                    );
                }
            }
            9 => {
                if let Some((of, flight)) = pick(&mut self.flights, key) {
                    let _ = zone.settle(flight, Answer::Invalid { value: &[of] });
                }
            }
            10 => {
                if let Some((_, flight)) = pick(&mut self.flights, key) {
                    zone.fail(flight, b"failed");
                }
            }
            11 => {
                if let Some((_, flight)) = pick(&mut self.flights, key) {
                    zone.abandon(flight);
                }
            }
            12 => used = zone.stale(&key_of(key), &policy, &mut value).map(|_| key),
            13 => _ = zone.purge_user(UserTag::new(u64::from(key % 4))),
            14 => _ = zone.purge_session(SessionTag::new(u64::from(key % 8))),
            _ => {
                let _ = zone.purge_key(&key_of(key));
                let flight = zone.begin(&key_of(key));
                self.flights.push((key, flight));
                let _ = zone.full();
            }
        }
        if let (Some(key), false) = (used, self.damaged) {
            assert!(value.iter().all(|&byte| byte == key), "another's value");
        }
        if !self.damaged {
            assert_eq!(zone.recovery(), None);
        }
        self.flights.truncate(50);
        self.tickets.truncate(50);
    }

    /// Emptied, a damaged zone is as good as new.
    fn heal(&mut self) {
        let _ = (self.zone.stats(), self.zone.completions());
        self.region[DIRTY].store(1, Ordering::Relaxed);
        self.now += 60_000;
        let mut zone = self
            .zone
            .enter(Time::from_millis(self.now))
            .expect("its own zone");
        assert!(zone.recovery().is_some());
        drop(zone.begin(&key_of(1)));
        self.now += 5_000;
        let mut zone = self
            .zone
            .enter(Time::from_millis(self.now))
            .expect("its own zone");
        let alive = |_: Owner| true;
        let asker = Asker {
            owner: Owner { pid: 1, slot: 0 },
            alive: &alive,
        };
        let policy = Policy::default();
        let mut value = Vec::new();
        for key in [7, 8] {
            match zone.lookup(&key_of(key), &policy, &asker, &mut value) {
                Lookup::Resolve(flight, _) => {
                    let answer = Answer::Valid {
                        value: &[key],
                        user: UserTag::new(1),
                        session: None,
                        use_until: None,
                    };
                    let settled = zone.settle(flight, answer);
                    if self.damaged {
                        // The number of the next flight may have been damaged, which nothing repairs.
                        continue;
                    }
                    assert_eq!(settled, Settled::Stored);
                }
                other => panic!("{other:?} in an empty zone"),
            }
            let found = zone.lookup(&key_of(key), &policy, &asker, &mut value);
            assert!(matches!(found, Lookup::Hit(_)), "{found:?}");
            assert_eq!(value, [key]);
        }
    }
}

fn pick(flights: &mut Vec<(u8, Flight)>, number: u8) -> Option<(u8, Flight)> {
    (!flights.is_empty()).then(|| flights.swap_remove(usize::from(number) % flights.len()))
}

fn key_of(number: u8) -> Key {
    let mut digest = [0; 32];
    digest[0] = number;
    digest[8] = number.wrapping_mul(31);
    Key::new(digest)
}

fn policy(step: u8) -> Policy {
    let ms = |n: u64| Duration::from_millis(n);
    Policy {
        valid: ms(3_000),
        invalid: ms(500),
        lock: if step & 16 == 0 { Lock::On } else { Lock::Off },
        lease: ms(1_000),
        refresh: if step & 32 == 0 {
            ms(500)
        } else {
            Duration::MAX
        },
        use_stale: if step & 64 == 0 { ms(5_000) } else { ms(0) },
        backoff: ms(u64::from(step >> 7) * 700),
    }
}
