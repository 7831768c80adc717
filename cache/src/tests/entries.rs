//! Entries: their time, their room, the zone that holds them.

use super::story::{is, Story};
use super::*;

#[test]
fn stored_answer_is_found_with_its_age() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    for len in [0, 1, 8, 119, 120, 121, 1_000] {
        let value: Vec<u8> = (0..len).map(|n| n as u8).collect();
        story.store(1, &value);
        story.now += 1_500;
        is!(story.lookup(1), Lookup::Hit(Found { validity: Validity::Valid, age }) if age == ms(1_500));
        assert_eq!(story.value, value);
    }
}

#[test]
fn invalid_answer_has_its_own_time() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    story.store_invalid(1);
    story.now += 1_999;
    is!(
        story.lookup(1),
        Lookup::Hit(Found {
            validity: Validity::Invalid,
            ..
        })
    );
    story.now += 1;
    assert!(!story.hits(1));
}

#[test]
fn nothing_is_used_beyond_its_own_end() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    story.policy.use_stale = ms(600_000);
    let flight = story.resolve(1);
    let until = Some(at(story.now + 10));
    let answer = Answer::Valid {
        value: b"x",
        user: user(1),
        session: None,
        use_until: until,
    };
    assert_eq!(story.enter().settle(flight, answer), Settled::Stored);
    assert!(story.hits(1));
    story.now += 10;
    assert!(!story.hits(1));
    let mut value = Vec::new();
    assert_eq!(
        story.enter().stale(&key(1), &story.policy, &mut value),
        None
    );
    let flight = story.resolve(1);
    let settled = story.enter().settle(flight, answer);
    assert_eq!(settled, Settled::Unstored(Refusal::Expired));
}

#[test]
fn clock_set_back_makes_entries_old_and_flights_dead() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    story.store(1, b"x");
    let _flight = story.resolve(2);
    let ticket = story.wait(2);
    story.now -= 1_000;
    assert!(story.hits(1));
    is!(story.poll(&ticket), Poll::Pending);
    story.now -= 1;
    assert!(!story.hits(1));
    is!(story.poll(&ticket), Poll::Resolve(_));
    // A quarantine doesn't outlast the jump.
    story.enter().purge_user(user(3));
    story.now -= 50_000;
    let flight = story.resolve(3);
    let settled = story.enter().settle(flight, valid(b"x", 3));
    assert_eq!(settled, Settled::Unstored(Refusal::Quarantined));
    story.now += 2_000;
    story.store(3, b"x");
}

#[test]
fn full_zone_evicts_the_least_recently_used() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    let room = (story.zone.stats().total_blocks - 8) / 2;
    for n in 0..room {
        story.store(n, b"x");
        story.now += 10;
    }
    assert_eq!(story.zone.stats().evictions, 0);
    assert_eq!(story.enter().full(), None);
    story.now += 1_000;
    assert!(story.hits(0));
    story.store(1_000, b"x");
    story.store(1_001, b"x");
    for (n, there) in [(0, true), (1, false), (2, false), (3, true), (1_000, true)] {
        assert_eq!(story.hits(n), there, "{n}");
    }
    assert_eq!(story.enter().full(), Some(Evicted(2)));
    story.store(1_002, b"x");
    assert_eq!(story.enter().full(), None);
    story.now += 60_000;
    assert_eq!(story.enter().full(), Some(Evicted(1)));
    audit::audit(&region);
}

#[test]
fn invalid_answers_push_out_a_tenth_at_most() {
    let region = Region::of_blocks(1_000);
    let mut story = Story::new(&region);
    for n in 0..1_000 {
        story.store(n, b"x");
    }
    let before = story.zone.stats().valid_entries;
    story.now += 5;
    for n in 1_000..20_000 {
        story.store_invalid(n);
    }
    let stats = story.zone.stats();
    assert!(stats.valid_entries >= before * 9 / 10 - 1, "{stats:?}");
    assert!(stats.invalid_entries > 50);
    // And make room again when nobody uses them.
    story.now += 5;
    for n in 20_000..21_000 {
        story.store(n, b"x");
    }
    assert_eq!(story.zone.stats().invalid_entries, 0);
    audit::audit(&region);
}

#[test]
fn value_too_large_is_told_to_those_who_wait() {
    let region = Region::of_blocks(10_000);
    let story = Story::new(&region);
    let flight = story.enter().begin(&key(1));
    let settled = story.enter().settle(flight, valid(&[1; 65_536], 1));
    assert_eq!(settled, Settled::Stored);
    let flight = story.enter().begin(&key(1));
    let settled = story.enter().settle(flight, valid(&[1; 65_537], 1));
    assert_eq!(settled, Settled::Unstored(Refusal::TooLarge));

    let region = Region::of_blocks(1_000);
    let mut story = Story::new(&region);
    let flight = story.resolve(1);
    let ticket = story.wait(1);
    let settled = story.enter().settle(
        flight,
        Answer::Invalid {
            value: &[1; 12_000],
        },
    );
    assert_eq!(settled, Settled::Unstored(Refusal::TooLarge));
    is!(story.poll(&ticket), Poll::Resolve(_));
    audit::audit(&region);
}

#[test]
fn zone_survives_attaching_again() {
    let region = Region::of_blocks(100);
    let (_, attached) = region.attach(at(1));
    assert_eq!(attached, Attached::Fresh);
    Story::new(&region).store(1, b"kept");
    let (zone, attached) = region.attach(at(2));
    assert_eq!(attached, Attached::Reused);
    assert_eq!(zone.stats().valid_entries, 1);
    assert!(Story::new(&region).hits(1));
}

#[test]
fn zone_of_another_layout_is_replaced_and_its_users_are_told() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    story.store(1, b"x");
    region.0[crate::layout::header::VERSION].store(99, Ordering::Relaxed);
    assert_eq!(story.zone.enter(at(1)).err(), Some(Detached));
    let (zone, attached) = region.attach(at(1));
    assert_eq!(attached, Attached::Incompatible);
    assert_eq!(zone.stats().valid_entries, 0);

    let part = Zone::attach(&region.0[..1_400], Seed([1, 2]), at(1)).unwrap();
    assert_eq!(part.1, Attached::Incompatible);
    assert_eq!(zone.enter(at(1)).err(), Some(Detached));
}

#[test]
fn keys_and_seeds_are_not_printed() {
    let shown = format!("{:?} {:?}", Key::new([0xab; 32]), Seed([77, 88]));
    assert_eq!(shown, "Key(abababababababab..) Seed(..)");
}
