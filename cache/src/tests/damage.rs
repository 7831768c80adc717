//! Arbitrary bytes in the region: no panic, no endless loop, and a zone that works in the end.

use proptest::collection::vec;
use proptest::prelude::*;

use super::audit::audit;
use super::story::Story;
use super::*;
use crate::layout::{entry, header, Layout, HEAD};
use crate::memory::Memory;

/// What a word becomes.
#[derive(Clone, Debug)]
enum Damage {
    Set(u64),
    Flip(u32),
    /// Another word of the region.
    Copy(usize),
    Halves(u32, u32),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<u64>().prop_map(Damage::Set),
        (0..400u64).prop_map(Damage::Set),
        (0..64u32).prop_map(Damage::Flip),
        any::<usize>().prop_map(Damage::Copy),
        (0..130u32, 0..130u32).prop_map(|(low, high)| Damage::Halves(low, high)),
        (0..130u32).prop_map(|low| Damage::Halves(low, u32::MAX)),
        (0..130u32).prop_map(|low| Damage::Halves(low, u32::MAX - 1)),
    ]
}

impl Region {
    fn damage(&self, word: usize, damage: &Damage) {
        let word = word % self.0.len();
        let old = self.0[word].load(Ordering::Relaxed);
        let new = match *damage {
            Damage::Set(value) => value,
            Damage::Flip(bit) => old ^ 1 << bit,
            Damage::Copy(from) => self.0[from % self.0.len()].load(Ordering::Relaxed),
            Damage::Halves(low, high) => u64::from(high) << 32 | u64::from(low),
        };
        // Whose zone it is, is asked on each entry and nothing to repair.
        if word > header::SIZE {
            self.0[word].store(new, Ordering::Relaxed);
        }
    }
}

const NOW: u64 = 500_000;

fn populated() -> Region {
    let region = Region::of_blocks(100);
    let mut locked_zone = region.zone();
    use_everything(&mut locked_zone, 0..30);
    region
}

/// Every call, with a few keys; what comes out doesn't matter.
fn use_everything(zone: &mut Zone<'_>, keys: std::ops::Range<u64>) {
    let policy = Policy {
        refresh: ms(0),
        use_stale: ms(10_000),
        ..Policy::default()
    };
    let mut value = Vec::new();
    let mut open = Vec::new();
    let mut tickets = Vec::new();
    for (now, n) in keys.clone().enumerate() {
        let mut locked = zone.enter(at(NOW + now as u64 * 10)).unwrap();
        match locked.lookup(&key(n), &policy, &asker(ME), &mut value) {
            Lookup::Refresh(_, flight) | Lookup::Resolve(flight, _) => open.push((n, flight)),
            Lookup::Wait(ticket) => tickets.push(ticket),
            Lookup::Hit(_) | Lookup::Stale(_) => {}
        }
        if let Lookup::Wait(ticket) = locked.lookup(&key(n), &policy, &asker(ME), &mut value) {
            tickets.push(ticket);
        }
        if open.len() > 3 {
            let (n, flight) = open.remove(0);
            let bytes = vec![n as u8; n as usize * 20];
            match n % 7 {
                0 => locked.fail(flight, &bytes),
                1 => locked.abandon(flight),
                2 => _ = locked.settle(flight, Answer::Invalid { value: b"no" }),
                _ => _ = locked.settle(flight, valid(&bytes, n % 4)),
            }
        }
        for ticket in &tickets {
            if let Poll::Resolve(flight) = locked.poll(ticket, &policy, &asker(OTHER), &mut value) {
                open.push((n, flight));
            }
        }
        tickets.truncate(3);
        locked.stale(&key(n), &policy, &mut value);
        match n % 23 {
            7 => _ = locked.purge_user(user(n % 4)),
            13 => _ = locked.purge_session(session(n % 4)),
            19 => _ = locked.purge_key(&key(n)),
            20 => _ = locked.full(),
            _ => {}
        }
    }
    _ = zone.stats();
    _ = zone.completions();
}

/// Emptied by hand, a damaged zone is whole again.
fn check_healed(region: &Region) {
    let zone = region.attach(at(NOW)).0;
    region.0[header::DIRTY].store(1, Ordering::Relaxed);
    let mut locked = zone.enter(at(NOW + 10_000)).unwrap();
    assert_eq!(locked.recovery(), Some(Recovery::Interrupted));
    let flight = locked.begin(&key(1));
    _ = locked.settle(flight, valid(b"x", 1));
    audit(region);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn few_damaged_words_do_no_harm(hits in vec((any::<usize>(), damage()), 1..8)) {
        let region = populated();
        for (word, damage) in &hits {
            region.damage(*word, damage);
        }
        use_everything(&mut region.zone(), 0..60);
        check_healed(&region);
    }

    #[test]
    fn damaged_header_and_first_blocks_do_no_harm(
        hits in vec((prop_oneof![3..64usize, 190..700usize], damage()), 1..4)
    ) {
        let region = populated();
        for (word, damage) in &hits {
            region.damage(*word, damage);
        }
        use_everything(&mut region.zone(), 0..60);
        check_healed(&region);
    }

    #[test]
    fn arbitrary_region_does_no_harm(kinds in vec(damage(), 1..20), seed in any::<u64>()) {
        let region = Region::of_words(2_000);
        let mut zone = region.zone();
        for (word, damage) in (0..2_000).zip(kinds.iter().cycle()) {
            let bits = seed.wrapping_mul(word as u64 * 2 + 1).rotate_left(word as u32 % 64);
            region.damage(word, &match *damage {
                Damage::Set(value) => Damage::Set(value ^ bits >> (value % 64)),
                Damage::Copy(from) => Damage::Copy(from ^ bits as usize),
                Damage::Halves(low, high) => {
                    Damage::Halves((low + bits as u32 % 64) % 130, high)
                }
                Damage::Flip(_) => Damage::Flip(bits as u32 % 64),
            });
        }
        use_everything(&mut zone, 0..40);
        check_healed(&region);
    }
}

#[test]
fn contradiction_is_reported_and_late_answers_are_not_trusted() {
    let region = populated();
    let zone = region.zone();
    let flight = zone.enter(at(NOW + 5_000)).unwrap().begin(&key(1));
    // Recency points nowhere.
    region.0[header::RECENT_VALID].store(u64::MAX, Ordering::Relaxed);
    let mut locked = zone.enter(at(NOW + 5_000)).unwrap();
    let settled = locked.settle(flight, valid(b"x", 1));
    assert_eq!(settled, Settled::Unstored(Refusal::Purged));
    assert_eq!(locked.recovery(), Some(Recovery::Corrupt));
    let soon = locked.begin(&key(1));
    let settled = locked.settle(soon, valid(b"x", 1));
    assert_eq!(settled, Settled::Unstored(Refusal::Quarantined));
    let mut locked = zone.enter(at(NOW + 7_000)).unwrap();
    let later = locked.begin(&key(1));
    assert_eq!(locked.settle(later, valid(b"x", 1)), Settled::Stored);
    audit(&region);
}

#[test]
fn value_of_another_entry_is_never_read() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    story.store(1, b"mine");
    story.store(2, b"another's");
    let layout = Layout::of(region.0.len()).unwrap();
    let memory = Memory::new(&region.0, &layout);
    let head = |n| {
        let block = memory.find_entry_block(&key(n)).unwrap().unwrap();
        &region.0[layout.field(block.number(), HEAD)]
    };
    head(1).store(head(2).load(Ordering::Relaxed), Ordering::Relaxed);
    assert!(!story.hits(1));
    assert_eq!(story.zone.stats().recoveries, 1);
}

#[test]
fn list_that_bites_its_tail_is_left() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    story.store(1, b"x");
    let layout = Layout::of(region.0.len()).unwrap();
    let memory = Memory::new(&region.0, &layout);
    let block = memory.find_entry_block(&key(1)).unwrap().unwrap();
    let link = &region.0[layout.field(block.number(), entry::BY_KEY)];
    link.store(u64::from(block.number()), Ordering::Relaxed);
    let bucket = |n| memory.entries_of_key(&key(n));
    let neighbour = (2..).find(|&n| bucket(n) == bucket(1)).unwrap();
    assert!(!story.hits(neighbour));
    assert_eq!(story.zone.stats().recoveries, 1);
}
