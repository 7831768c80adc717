//! Purges and what they keep out.

use super::story::{is, Story};
use super::*;

#[test]
fn purge_of_a_user_removes_that_users_entries() {
    let region = Region::of_blocks(200);
    let mut story = Story::new(&region);
    for n in 0..20 {
        let flight = story.enter().begin(&key(n));
        story.enter().settle(flight, valid(b"x", n % 4));
    }
    assert_eq!(story.enter().purge_user(user(1)), 5);
    assert_eq!(story.enter().purge_user(user(1)), 0);
    assert_eq!(story.enter().purge_session(session(2)), 5);
    assert!(story.enter().purge_key(&key(0)));
    assert!(!story.enter().purge_key(&key(0)));
    for n in 0..20 {
        assert_eq!(story.hits(n), n > 0 && matches!(n % 4, 0 | 3));
    }
    audit::audit(&region);
}

#[test]
fn answer_in_flight_during_a_purge_is_not_stored() {
    let region = Region::of_blocks(100);
    let purges: [fn(&mut Locked<'_>); 3] = [
        |locked| _ = locked.purge_user(user(1)),
        |locked| _ = locked.purge_session(session(1)),
        |locked| _ = locked.purge_key(&key(1)),
    ];
    for purge in purges {
        let mut story = Story::new(&region);
        story.now = story.now.max(200_000);
        let flight = story.resolve(1);
        let ticket = story.wait(1);
        purge(&mut story.enter());
        story.now += 10_000;
        let settled = story.enter().settle(flight, valid(b"before", 1));
        assert_eq!(settled, Settled::Unstored(Refusal::Purged));
        let Poll::Resolve(flight) = story.poll(&ticket) else {
            panic!()
        };
        let settled = story.enter().settle(flight, valid(b"after", 1));
        assert_eq!(settled, Settled::Stored);
        story.enter().purge_key(&key(1));
    }
}

#[test]
fn invalid_answer_in_flight_during_any_purge_is_not_stored() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    let flight = story.resolve(1);
    story.enter().purge_user(user(7));
    let settled = story.enter().settle(flight, Answer::Invalid { value: b"" });
    assert_eq!(settled, Settled::Unstored(Refusal::Purged));
    story.store_invalid(1);
}

#[test]
fn purged_user_is_not_stored_for_two_seconds_but_those_who_wait_are_answered() {
    let region = Region::of_blocks(100);
    let mut story = Story::new(&region);
    story.enter().purge_user(user(1));
    story.now += 1_999;
    let flight = story.resolve(1);
    let ticket = story.wait(1);
    story.now += 50;
    let settled = story.enter().settle(flight, valid(b"maybe old", 1));
    assert_eq!(settled, Settled::Unstored(Refusal::Quarantined));
    is!(story.poll(&ticket), Poll::Answered(_));
    assert_eq!(story.value, b"maybe old");
    let flight = story.resolve(1);
    let settled = story.enter().settle(flight, valid(b"new", 1));
    assert_eq!(settled, Settled::Stored);
    audit::audit(&region);
}
