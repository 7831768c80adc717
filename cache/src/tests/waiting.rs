//! Flights: who resolves, who waits, what they are told.

use super::story::{is, Story};
use super::*;

#[test]
fn expired_entry_is_resolved_once() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    story.store(1, b"old");
    story.now += 60_000;
    let Lookup::Resolve(flight, Absence::Expired) = story.lookup(1) else {
        panic!()
    };
    let ticket = story.wait(1);
    is!(story.poll(&ticket), Poll::Pending);
    let before = story.zone.completions();
    story.enter().settle(flight, valid(b"new", 1));
    assert_ne!(story.zone.completions(), before);
    is!(story.poll(&ticket), Poll::Answered(_));
    assert_eq!(story.value, b"new");
}

#[test]
fn abandoned_flight_is_taken_over_by_one() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    let flight = story.resolve(1);
    let one = story.wait(1);
    let other = story.wait(1);
    story.enter().abandon(flight);
    let Poll::Resolve(flight) = story.poll(&other) else {
        panic!()
    };
    is!(story.poll(&one), Poll::Pending);
    story.enter().settle(flight, valid(b"x", 1));
    is!(story.poll(&one), Poll::Answered(_));
}

#[test]
fn dead_owner_is_replaced_by_one() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    let _lost = story.resolve(1);
    let one = story.wait(1);
    let survivor = Asker {
        owner: OTHER,
        alive: &|owner| owner != ME,
    };
    let Poll::Resolve(_flight) = story.poll_as(&one, &survivor) else {
        panic!()
    };
    is!(story.lookup_as(1, &survivor), Lookup::Wait(_));
    is!(story.poll_as(&one, &survivor), Poll::Pending);
}

#[test]
fn slow_owner_is_replaced_and_its_answer_still_counts() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    let slow = story.resolve(1);
    let ticket = story.wait(1);
    story.now = ticket.expires().as_millis() - 1;
    is!(story.poll(&ticket), Poll::Pending);
    story.now += 1;
    let Poll::Resolve(quick) = story.poll(&ticket) else {
        panic!()
    };
    assert_eq!(
        story.enter().settle(slow, valid(b"slow", 1)),
        Settled::Stored
    );
    is!(story.poll(&ticket), Poll::Answered(_));
    assert_eq!(
        story.enter().settle(quick, valid(b"quick", 1)),
        Settled::Stored
    );
    assert!(story.hits(1));
    assert_eq!(story.value, b"quick");
}

#[test]
fn earlier_answer_does_not_replace_a_later_one() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    let early = story.enter().begin(&key(1));
    story.store(1, b"late");
    let settled = story.enter().settle(early, valid(b"early", 1));
    assert_eq!(settled, Settled::Unstored(Refusal::Superseded));
    assert!(story.hits(1));
    assert_eq!(story.value, b"late");
}

#[test]
fn failure_is_told_to_those_who_waited_only() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    let flight = story.resolve(1);
    let ticket = story.wait(1);
    story.enter().fail(flight, b"502");
    let second = story.resolve(1);
    is!(story.poll(&ticket), Poll::Failed);
    assert_eq!(story.value, b"502");
    let later = story.wait(1);
    is!(story.poll(&later), Poll::Pending);
    story.enter().settle(second, valid(b"x", 1));
    is!(story.poll(&later), Poll::Answered(_));
}

#[test]
fn unlocked_lookups_all_resolve() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    story.policy.lock = Lock::Off;
    let first = story.resolve(1);
    let second = story.resolve(1);
    assert_eq!(
        story.enter().settle(second, valid(b"2", 1)),
        Settled::Stored
    );
    let settled = story.enter().settle(first, valid(b"1", 1));
    assert_eq!(settled, Settled::Unstored(Refusal::Superseded));
}

#[test]
fn old_answer_is_refreshed_by_one() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    story.policy.refresh = ms(10_000);
    story.policy.backoff = ms(1_000);
    story.store(1, b"old");
    story.now += 9_999;
    is!(story.lookup(1), Lookup::Hit(_));
    story.now += 1;
    let Lookup::Refresh(_, flight) = story.lookup(1) else {
        panic!()
    };
    is!(story.lookup(1), Lookup::Hit(_));
    story.enter().fail(flight, b"");
    is!(story.lookup(1), Lookup::Hit(_));
    story.now += 1_000;
    let Lookup::Refresh(_, flight) = story.lookup(1) else {
        panic!()
    };
    story.enter().settle(flight, valid(b"new", 1));
    is!(story.lookup(1), Lookup::Hit(Found { age, .. }) if age == ms(0));
    assert_eq!(story.value, b"new");
}

#[test]
fn expired_entry_waits_for_its_refresh() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    story.policy.refresh = ms(59_000);
    story.store(1, b"old");
    story.now += 59_500;
    let Lookup::Refresh(_, flight) = story.lookup(1) else {
        panic!()
    };
    story.now += 500;
    let ticket = story.wait(1);
    story.enter().settle(flight, valid(b"new", 1));
    is!(story.poll(&ticket), Poll::Answered(_));
}

#[test]
fn stale_answer_is_bounded_and_never_an_invalid_one() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    let mut value = Vec::new();
    story.store(1, b"old");
    story.store_invalid(2);
    story.now += 60_000;
    let policy = Policy {
        use_stale: ms(5_000),
        ..story.policy
    };
    assert_eq!(
        story.enter().stale(&key(1), &story.policy, &mut value),
        None
    );
    let found = story.enter().stale(&key(1), &policy, &mut value).unwrap();
    assert_eq!((found.age, &value[..]), (ms(60_000), &b"old"[..]));
    assert_eq!(story.enter().stale(&key(2), &policy, &mut value), None);
    story.now += 5_000;
    assert_eq!(story.enter().stale(&key(1), &policy, &mut value), None);
}

#[test]
fn failing_resolver_is_tried_by_one_while_others_use_the_old_answer() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    story.policy.use_stale = ms(600_000);
    story.policy.backoff = ms(1_000);
    story.store(1, b"old");
    story.now += 60_000;
    let flight = story.resolve(1);
    story.wait(1);
    story.enter().fail(flight, b"");
    is!(story.lookup(1), Lookup::Stale(_));
    story.now += 1_000;
    let flight = story.resolve(1);
    is!(story.lookup(1), Lookup::Stale(_));
    story.enter().settle(flight, valid(b"new", 1));
    is!(story.lookup(1), Lookup::Hit(_));
}

#[test]
fn flights_push_out_nothing() {
    let region = Region::of_blocks(200);
    let mut story = Story::new(&region);
    story.store(0, b"x");
    let flights: Vec<_> = (1..100).map(|n| story.resolve(n)).collect();
    assert!(story.zone.stats().flights < 20);
    assert_eq!(story.zone.stats().evictions, 0);
    // Those without a record resolve for themselves, and are stored.
    for flight in flights {
        let settled = story.enter().settle(flight, valid(b"y", 1));
        assert_eq!(settled, Settled::Stored);
    }
    assert_eq!(story.zone.stats().flights, 0);
    // Records whose owner never came back make room for others.
    let lost: Vec<_> = (100..200).map(|n| story.resolve(n)).collect();
    drop(lost);
    story.now += 15_000;
    let _flight = story.resolve(300);
    story.wait(300);
    audit::audit(&region);
}

#[test]
fn those_who_wait_are_answered_even_if_the_answer_is_kept_for_no_time() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    story.policy.valid = ms(0);
    let flight = story.resolve(1);
    let ticket = story.wait(1);
    story.enter().settle(flight, valid(b"x", 1));
    story.now += 10;
    is!(story.poll(&ticket), Poll::Answered(_));
    assert!(!story.hits(1));
    story.now += 990;
    is!(story.poll(&ticket), Poll::Resolve(_));
}
