//! How long the lock is held: `cargo run --release -p authgear-cache --example speed`.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use authgear_cache::{
    Answer, Asker, Key, Lookup, Owner, Policy, Seed, SessionTag, Time, UserTag, Zone,
};

const SESSIONS: u64 = 20_000;

fn main() {
    let region: Vec<AtomicU64> = (0..10 * 1024 * 1024 / 8)
        .map(|_| AtomicU64::new(0))
        .collect();
    let now = Time::from_millis(1_000_000);
    let (zone, _) = Zone::attach(&region, Seed([3, 5]), now).expect("large enough");
    let asker = Asker {
        owner: Owner { pid: 1, slot: 0 },
        alive: &|_| true,
    };
    let policy = Policy::default();
    let mut value = Vec::new();
    let enter = |now| zone.enter(now).expect("attached");

    let store = |n: u64| {
        let mut locked = enter(now);
        let flight = locked.begin(&key(n));
        locked.settle(flight, answer(n))
    };
    report("store", SESSIONS, |n| {
        black_box(store(n));
    });

    let mut hit = |n: u64, now| match enter(now).lookup(&key(n), &policy, &asker, &mut value) {
        Lookup::Hit(found) => found,
        other => panic!("{other:?}"),
    };
    report("hit, one session", 2_000_000, |_| {
        black_box(hit(7, now));
    });
    report("hit, 20,000 sessions in random order", 2_000_000, |n| {
        black_box(hit(mix(n) % SESSIONS, now));
    });
    let later = now.after(Duration::from_secs(2));
    report("hit that is noted as recent", SESSIONS, |n| {
        black_box(hit(mix(n) % SESSIONS, later));
    });

    let mut unused = Vec::new();
    report("miss and abandon", 1_000_000, |n| {
        let mut locked = enter(now);
        match locked.lookup(&key(SESSIONS + n), &policy, &asker, &mut unused) {
            Lookup::Resolve(flight, _) => locked.abandon(flight),
            other => panic!("{other:?}"),
        }
    });
    report("store over a full zone", 200_000, |n| {
        black_box(store(SESSIONS + n));
    });
    report("purge of a user", 1_000, |n| {
        black_box(enter(now).purge_user(user(SESSIONS + 199_000 + n)));
    });

    report("emptying after a death", 100, |_| {
        region[DIRTY].store(1, Ordering::Relaxed);
        assert!(enter(now).recovery().is_some());
    });
}

/// The word that is not zero while a step writes.
const DIRTY: usize = 3;

fn report(what: &str, times: u64, mut step: impl FnMut(u64)) {
    let start = Instant::now();
    (0..times).for_each(&mut step);
    let each = start.elapsed().as_secs_f64() * 1e9 / times as f64;
    println!("{each:>10.0} ns  {what}");
}

fn answer(n: u64) -> Answer<'static> {
    Answer::Valid {
        value: &[7; 200],
        user: user(n),
        session: Some(SessionTag::new(mix(n) | 1)),
        use_until: None,
    }
}

fn user(n: u64) -> UserTag {
    UserTag::new(mix(n))
}

fn key(n: u64) -> Key {
    let mut digest = [0; 32];
    for (index, bytes) in digest.chunks_mut(8).enumerate() {
        bytes.copy_from_slice(&mix(n * 4 + index as u64).to_le_bytes());
    }
    Key::new(digest)
}

fn mix(n: u64) -> u64 {
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}
