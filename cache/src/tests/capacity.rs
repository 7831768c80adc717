//! How much fits.

use super::audit::audit;
use super::*;

#[test]
fn ten_megabytes_hold_twenty_thousand_sessions() {
    // nginx's slab pool keeps some 70 KB of the zone for itself.
    let region = Region::of_words((10 * 1024 * 1024 - 72 * 1024) / 8);
    let zone = region.zone();
    let mut stored = 0;
    while zone.stats().evictions == 0 {
        let mut locked = zone.enter(at(1_000)).unwrap();
        let flight = locked.begin(&key(stored));
        let value = [stored as u8; 200];
        assert_eq!(
            locked.settle(flight, valid(&value, stored)),
            Settled::Stored
        );
        stored += 1;
    }
    let held = zone.stats().valid_entries;
    println!(
        "{held} sessions of 200 bytes, {} bytes each",
        region.0.len() as u64 * 8 / held
    );
    assert!(held >= 20_000);
    assert!(region.0.len() as u64 * 8 / held <= 512);

    let mut value = Vec::new();
    let mut locked = zone.enter(at(1_000)).unwrap();
    for n in 1..stored {
        let found = locked.stale(&key(n), &Policy::default(), &mut value);
        assert!(found.is_some() && value == [n as u8; 200]);
    }
    assert_eq!(locked.purge_user(user(7)), 1);
    audit(&region);
}

#[test]
fn buckets_are_used_evenly() {
    let region = Region::of_blocks(30_000);
    let zone = region.zone();
    let layout = crate::layout::Layout::of(region.0.len()).unwrap();
    let memory = crate::memory::Memory::new(&region.0, &layout);
    let mut longest = 0;
    for n in 0..9_000 {
        let mut locked = zone.enter(at(1_000)).unwrap();
        let flight = locked.begin(&key(n));
        locked.settle(flight, valid(&[0; 200], n));
    }
    for n in 0..9_000 {
        for list in [
            memory.entries_of_key(&key(n)),
            memory.entries_of_user(user(n)),
            memory.entries_of_session(session(n)),
        ] {
            let mut walk = memory.walk(list);
            let mut length = 0;
            while walk.step(&memory).unwrap().is_some() {
                length += 1;
            }
            longest = longest.max(length);
        }
    }
    assert!(longest <= 10, "{longest} in one bucket");
}
