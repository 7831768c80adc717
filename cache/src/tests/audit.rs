//! Looks at every block and every list of a zone and counts after.

use std::collections::HashSet;

use crate::blocks::value_blocks;
use crate::entry::split_kind;
use crate::layout::{entry, flight, header, Half, Layout};
use crate::list::{Link, List};
use crate::memory::{Block, Memory, Role};
use crate::types::{SessionTag, UserTag, Validity};

use super::Region;

/// Panics unless the zone is whole: every block in one place, every list and number agreeing.
pub(super) fn audit(region: &Region) {
    let layout = Layout::of(region.0.len()).unwrap();
    let memory = Memory::new(&region.0, &layout);
    assert!(!memory.is_dirty());
    let mut seen = HashSet::new();

    let mut free = memory.block_at(Half::low(header::FREE)).unwrap();
    while let Some(block) = free {
        assert!(seen.insert(block.number()), "free twice");
        free = memory.next(block, Role::Free).unwrap();
    }

    let entries = all(&memory, layout.keys.all(), Link::ByKey);
    let mut counts = [[0; 2]; 2];
    for &block in &entries {
        let found = memory.entry(block).unwrap();
        let key = memory.key_at(block, entry::KEY);
        assert_eq!(memory.find_entry_block(&key).unwrap(), Some(block));
        let blocks = owned(&memory, block, Role::Entry, found.len, &mut seen);
        let count = &mut counts[usize::from(found.validity == Validity::Invalid)];
        count[0] += 1;
        count[1] += blocks;
        if let Some(user) = UserTag::from_word(memory.field(block, entry::USER)) {
            assert!(list(&memory, memory.entries_of_user(user)).contains(&block));
        }
        if let Some(session) = SessionTag::from_word(memory.field(block, entry::SESSION)) {
            assert!(list(&memory, memory.entries_of_session(session)).contains(&block));
        }
    }
    let numbers = |words: [usize; 2]| words.map(|word| memory.get(word));
    assert_eq!(
        counts[0],
        numbers([header::VALID_ENTRIES, header::VALID_BLOCKS])
    );
    assert_eq!(
        counts[1],
        numbers([header::INVALID_ENTRIES, header::INVALID_BLOCKS])
    );
    assert!(counts[1][1] <= layout.invalid_blocks());
    assert!(counts[0][1] + counts[1][1] <= layout.entry_blocks());
    for (list_, count) in [
        (List::RECENT_VALID, counts[0][0]),
        (List::RECENT_INVALID, counts[1][0]),
    ] {
        assert_eq!(list(&memory, list_).len() as u64, count);
    }
    let tagged = |field| {
        let has = |&&block: &&Block| memory.field(block, field) != 0;
        entries.iter().filter(has).count()
    };
    let of_users = all(&memory, layout.users.all(), Link::ByUser);
    assert_eq!(of_users.len(), tagged(entry::USER));
    let of_sessions = all(&memory, layout.sessions.all(), Link::BySession);
    assert_eq!(of_sessions.len(), tagged(entry::SESSION));

    let flights = all(&memory, layout.flights.all(), Link::FlightByKey);
    let mut blocks = 0;
    let mut flying = 0;
    for &block in &flights {
        let key = memory.key_at(block, flight::KEY);
        let record = memory.find_flight(&key).unwrap().unwrap();
        assert_eq!(record.block, block);
        flying += u64::from(record.is_flying());
        let len = record.told.map_or(0, |_| {
            split_kind(memory.field(block, flight::TOLD_KIND))
                .unwrap()
                .1
        });
        blocks += owned(&memory, block, Role::Flight, len, &mut seen);
    }
    assert_eq!(blocks, memory.get(header::FLIGHT_BLOCKS));
    assert!(blocks <= layout.flight_blocks());
    assert_eq!(flying, memory.get(header::FLYING_COUNT));
    assert_eq!(list(&memory, List::FLYING).len() as u64, flying);
    let landed = flights.len() as u64 - flying;
    assert_eq!(list(&memory, List::LANDED).len() as u64, landed);

    let ever_used = memory.get(header::EVER_USED);
    assert_eq!(seen.len() as u64, ever_used, "blocks were lost");
    assert!(ever_used <= u64::from(layout.blocks));
}

/// Notes a block and its value's blocks as seen.
fn owned(
    memory: &Memory<'_>,
    block: Block,
    role: Role,
    len: usize,
    seen: &mut HashSet<u32>,
) -> u64 {
    assert!(seen.insert(block.number()));
    let mut count = 0;
    let mut next = memory.next(block, role).unwrap();
    while let Some(value) = next {
        assert!(seen.insert(value.number()), "a value shared");
        next = memory.next(value, Role::ValueOf(block)).unwrap();
        count += 1;
    }
    assert_eq!(count, value_blocks(len));
    1 + count
}

fn all(memory: &Memory<'_>, buckets: impl Iterator<Item = Half>, link: Link) -> Vec<Block> {
    buckets
        .flat_map(|bucket| list(memory, List::chain(bucket, link)))
        .collect()
}

fn list(memory: &Memory<'_>, list: List) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut walk = memory.walk(list);
    while let Some(block) = walk.step(memory).unwrap() {
        let before = blocks.last().copied();
        assert_eq!(memory.previous(list, block).unwrap(), before);
        blocks.push(block);
    }
    blocks
}
