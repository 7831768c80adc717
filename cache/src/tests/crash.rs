//! A process dies at each single write of each kind of step.

use super::audit::audit;
use super::compare::dies_at;
use super::*;
use crate::layout::header;

const NOW: u64 = 500_000;

/// What the process that dies was about.
struct Step {
    name: &'static str,
    /// Takes the flight of key 50, which others wait for.
    act: fn(&mut Locked<'_>, Flight),
}

fn policy() -> Policy {
    Policy {
        refresh: ms(20_000),
        ..Policy::default()
    }
}

fn look(locked: &mut Locked<'_>, n: u64) -> Lookup {
    locked.lookup(&key(n), &policy(), &asker(ME), &mut Vec::new())
}

const STEPS: &[Step] = &[
    Step {
        name: "a hit that moves to the front",
        act: |locked, _| _ = look(locked, 3),
    },
    Step {
        name: "a miss that takes off",
        act: |locked, _| _ = look(locked, 70),
    },
    Step {
        name: "a miss over a landed record",
        act: |locked, _| _ = look(locked, 60),
    },
    Step {
        name: "a refresh",
        act: |locked, _| _ = look(locked, 0),
    },
    Step {
        name: "a flight of one's own",
        act: |locked, _| _ = locked.begin(&key(3)),
    },
    Step {
        name: "an answer that evicts",
        act: |locked, flight| _ = locked.settle(flight, valid(&[9; 900], 50)),
    },
    Step {
        name: "an invalid answer",
        act: |locked, flight| _ = locked.settle(flight, Answer::Invalid { value: b"no" }),
    },
    Step {
        name: "an answer that replaces one",
        act: |locked, _| {
            let flight = locked.begin(&key(2));
            locked.settle(flight, valid(&[9; 100], 2));
        },
    },
    Step {
        name: "an answer in quarantine",
        act: |locked, flight| _ = locked.settle(flight, valid(&[9; 200], 99)),
    },
    Step {
        name: "a failure",
        act: |locked, flight| locked.fail(flight, &[9; 200]),
    },
    Step {
        name: "an abandoned flight",
        act: |locked, flight| locked.abandon(flight),
    },
    Step {
        name: "a purge of a user",
        act: |locked, _| _ = locked.purge_user(user(1)),
    },
    Step {
        name: "a purge of a session",
        act: |locked, _| _ = locked.purge_session(session(1)),
    },
    Step {
        name: "a purge of a key",
        act: |locked, _| _ = locked.purge_key(&key(50)),
    },
    Step {
        name: "a word about a full zone",
        act: |locked, _| _ = locked.full(),
    },
];

/// The value that belongs to a key, and the only one that may ever be found there.
fn value_of(n: u64) -> Vec<u8> {
    let len = 50 + (n as usize * 37) % 300;
    n.to_le_bytes().into_iter().cycle().take(len).collect()
}

/// A full zone with a bit of everything, and the flight of key 50.
fn busy_zone() -> (Region, Flight, Ticket) {
    let region = Region::of_blocks(100);
    let zone = region.zone();
    let enter = |now| zone.enter(at(now)).unwrap();
    for n in 0..40 {
        let now = NOW - 40_000 + n * 1_000;
        let flight = enter(now).begin(&key(n));
        let settled = match n % 10 {
            9 => enter(now).settle(
                flight,
                Answer::Invalid {
                    value: &value_of(n)[..50],
                },
            ),
            _ => enter(now).settle(flight, valid(&value_of(n), n % 3)),
        };
        assert_eq!(settled, Settled::Stored);
    }
    // The steps want a first entry and a second one to be there.
    for n in [0, 2, 3] {
        let flight = enter(NOW - 25_000).begin(&key(n));
        enter(NOW - 25_000).settle(flight, valid(&value_of(n), n % 3));
    }
    let Lookup::Resolve(failing, _) = look(&mut enter(NOW), 60) else {
        panic!()
    };
    enter(NOW).fail(failing, b"502");
    enter(NOW - 100).purge_user(user(99));
    let Lookup::Resolve(flight, _) = look(&mut enter(NOW), 50) else {
        panic!()
    };
    let Lookup::Wait(ticket) = look(&mut enter(NOW), 50) else {
        panic!()
    };
    assert!(zone.stats().evictions > 0);
    (region, flight, ticket)
}

fn flight_again(flight: &Flight) -> Flight {
    Flight {
        key: flight.key,
        token: flight.token,
        started: flight.started,
    }
}

/// What must hold in every zone that a dead process left behind, and for those who waited.
fn check_survivor(region: &Region, flight: Flight, ticket: &Ticket, name: &str) {
    let (zone, attached) = region.attach(at(NOW));
    assert_eq!(attached, Attached::Reused);
    let token = region.0[header::TOKEN].load(Ordering::Relaxed);
    assert!(token >= flight.token.word(), "{name}: tokens went back");

    let completions = zone.completions();
    let recovery = zone.enter(at(NOW)).unwrap().recovery();
    assert_eq!(zone.completions() > completions, recovery.is_some());
    assert!(matches!(recovery, None | Some(Recovery::Interrupted)));
    assert_eq!(zone.enter(at(NOW)).unwrap().recovery(), None);
    audit(region);

    let mut locked = zone.enter(at(NOW)).unwrap();
    let mut value = Vec::new();
    for n in 0..40 {
        let there = locked.stale(&key(n), &policy(), &mut value).is_some();
        let was_replaced = n == 2 && value == [9; 100];
        assert!(
            !there || was_replaced || value == value_of(n),
            "{name}: {n}"
        );
        assert!(!there || recovery.is_none());
    }

    // Whoever waits gets on: the flight is there, or has told something, or is taken over by one.
    let survivor = Asker {
        owner: OTHER,
        alive: &|owner| owner != ME,
    };
    let next = match locked.poll(ticket, &policy(), &survivor, &mut value) {
        Poll::Resolve(next) => next,
        Poll::Answered(_) | Poll::Failed if recovery.is_none() => locked.begin(&key(50)),
        other => panic!("{name}: {other:?}"),
    };
    assert!(next.token.word() >= token, "{name}: a token came twice");
    assert_eq!(
        locked.settle(next, valid(b"fresh", 50)),
        Settled::Stored,
        "{name}"
    );
    assert!(matches!(
        locked.poll(ticket, &policy(), &survivor, &mut value),
        Poll::Answered(_)
    ));
    assert_eq!(value, b"fresh");

    // The earlier flight's answer, from a process that lives on, doesn't replace the later one.
    let late = locked.settle(flight, valid(b"late", 50));
    let kept_out = [Refusal::Superseded, Refusal::Purged].map(Settled::Unstored);
    assert!(kept_out.contains(&late), "{name}: {late:?}");
    audit(region);
}

#[test]
fn death_at_any_write_leaves_a_zone_that_works() {
    let (whole, flight, ticket) = busy_zone();
    for step in STEPS {
        let mut deaths = 0;
        loop {
            let region = whole.copy();
            let zone = region.attach(at(NOW)).0;
            let died = dies_at(deaths, || {
                let mut locked = zone.enter(at(NOW)).unwrap();
                (step.act)(&mut locked, flight_again(&flight));
            });
            if !died {
                audit(&region);
                break;
            }
            deaths += 1;
            check_survivor(&region, flight_again(&flight), &ticket, step.name);
        }
        assert!(deaths >= 3, "{} wrote {deaths} times", step.name);
    }
}

#[test]
fn purge_that_died_may_be_repeated_and_a_purge_that_ended_holds() {
    let (whole, flight, _) = busy_zone();
    let zone = whole.attach(at(NOW)).0;
    zone.enter(at(NOW)).unwrap().purge_user(user(50));
    for deaths in 0.. {
        let region = whole.copy();
        let zone = region.attach(at(NOW)).0;
        let died = dies_at(deaths, || {
            _ = zone.enter(at(NOW)).unwrap().purge_user(user(1));
        });
        if !died {
            break;
        }
        let mut locked = zone.enter(at(NOW)).unwrap();
        let late = locked.settle(flight_again(&flight), valid(b"late", 50));
        assert_eq!(late, Settled::Unstored(Refusal::Purged));
        let soon = locked.begin(&key(51));
        let soon = locked.settle(soon, valid(b"soon", 50));
        assert_eq!(soon, Settled::Unstored(Refusal::Quarantined));
    }
}

#[test]
fn death_during_recovery_is_recovered_from() {
    let (whole, flight, ticket) = busy_zone();
    let zone = whole.attach(at(NOW)).0;
    assert!(dies_at(9, || {
        _ = zone.enter(at(NOW)).unwrap().purge_user(user(1));
    }));
    for deaths in 0.. {
        let region = whole.copy();
        let zone = region.attach(at(NOW)).0;
        if !dies_at(deaths, || _ = zone.enter(at(NOW)).map(drop)) {
            break;
        }
        check_survivor(&region, flight_again(&flight), &ticket, "recovery");
    }
}

#[test]
fn death_while_the_zone_is_made_leaves_none_or_a_whole_one() {
    for deaths in 0.. {
        let region = Region::of_blocks(100);
        for word in &region.0 {
            word.store(0x5555_5555_5555_5555, Ordering::Relaxed);
        }
        let died = dies_at(deaths, || _ = region.attach(at(NOW)));
        let (zone, _) = region.attach(at(NOW));
        let mut locked = zone.enter(at(NOW)).unwrap();
        let flight = locked.begin(&key(1));
        assert_eq!(locked.settle(flight, valid(b"x", 1)), Settled::Stored);
        audit(&region);
        if !died {
            break;
        }
    }
}

#[test]
fn panic_in_a_step_is_recovered_from_like_a_death() {
    let region = Region::of_blocks(100);
    let zone = region.zone();
    assert!(dies_at(5, || {
        let mut locked = zone.enter(at(NOW)).unwrap();
        let flight = locked.begin(&key(1));
        locked.settle(flight, valid(b"x", 1));
    }));
    let locked = zone.enter(at(NOW)).unwrap();
    assert_eq!(locked.recovery(), Some(Recovery::Interrupted));
    assert_eq!(zone.stats().recoveries, 1);
}
