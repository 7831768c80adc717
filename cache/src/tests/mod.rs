//! Tests of the whole: stories, a model, crashes, damage, capacity.

mod audit;
mod capacity;
mod compare;
mod crash;
mod damage;
mod driver;
mod entries;
mod model;
mod ops;
mod purging;
mod sequences;
mod story;
mod waiting;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::*;

/// A region of shared memory.
struct Region(Vec<AtomicU64>);

impl Region {
    fn of_words(words: usize) -> Self {
        Region((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    /// A region whose zone has about that many blocks.
    fn of_blocks(blocks: usize) -> Self {
        Self::of_words(250 + blocks * 17)
    }

    fn zone(&self) -> Zone<'_> {
        self.attach(Time::from_millis(1)).0
    }

    fn attach(&self, now: Time) -> (Zone<'_>, Attached) {
        Zone::attach(&self.0, Seed([7, 11]), now).unwrap()
    }

    fn copy(&self) -> Self {
        let words = self.0.iter().map(|word| word.load(Ordering::Relaxed));
        Region(words.map(AtomicU64::new).collect())
    }
}

fn key(n: u64) -> Key {
    // Spread like a digest.
    let mut digest = [0; 32];
    for (index, chunk) in digest.chunks_mut(8).enumerate() {
        let word = (n + 1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(index as u32 * 13);
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    Key::new(digest)
}

fn user(n: u64) -> UserTag {
    UserTag::new((n + 1).wrapping_mul(0xd6e8_feb8_6659_fd93))
}

fn session(n: u64) -> SessionTag {
    SessionTag::new((n + 1).wrapping_mul(0xa076_1d64_78bd_642f))
}

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const ME: Owner = Owner { pid: 100, slot: 0 };
const OTHER: Owner = Owner { pid: 200, slot: 0 };

fn asker(owner: Owner) -> Asker<'static> {
    Asker {
        owner,
        alive: &|_| true,
    }
}

fn valid(value: &[u8], n: u64) -> Answer<'_> {
    Answer::Valid {
        value,
        user: user(n),
        session: Some(session(n)),
        use_until: None,
    }
}

/// Some cases each time; `PROPTEST_CASES` for more.
fn config() -> proptest::prelude::ProptestConfig {
    let mut config = proptest::prelude::ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 48;
    }
    config
}
