//! A zone, a clock, and calls that read like a story.

use super::*;

pub(super) struct Story<'r> {
    pub(super) zone: Zone<'r>,
    pub(super) now: u64,
    pub(super) policy: Policy,
    pub(super) value: Vec<u8>,
}

impl<'r> Story<'r> {
    pub(super) fn new(region: &'r Region) -> Self {
        Story {
            zone: region.zone(),
            now: 100_000,
            policy: Policy::default(),
            value: Vec::new(),
        }
    }

    pub(super) fn enter(&self) -> Locked<'_> {
        self.zone.enter(at(self.now)).unwrap()
    }

    pub(super) fn lookup(&mut self, n: u64) -> Lookup {
        self.lookup_as(n, &asker(ME))
    }

    pub(super) fn lookup_as(&mut self, n: u64, asker: &Asker<'_>) -> Lookup {
        let mut locked = self.zone.enter(at(self.now)).unwrap();
        locked.lookup(&key(n), &self.policy, asker, &mut self.value)
    }

    pub(super) fn poll(&mut self, ticket: &Ticket) -> Poll {
        self.poll_as(ticket, &asker(OTHER))
    }

    pub(super) fn poll_as(&mut self, ticket: &Ticket, asker: &Asker<'_>) -> Poll {
        let mut locked = self.zone.enter(at(self.now)).unwrap();
        locked.poll(ticket, &self.policy, asker, &mut self.value)
    }

    pub(super) fn resolve(&mut self, n: u64) -> Flight {
        match self.lookup(n) {
            Lookup::Resolve(flight, _) => flight,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn wait(&mut self, n: u64) -> Ticket {
        match self.lookup_as(n, &asker(OTHER)) {
            Lookup::Wait(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn store(&mut self, n: u64, value: &[u8]) {
        let flight = self.enter().begin(&key(n));
        let settled = self.enter().settle(flight, valid(value, n));
        assert_eq!(settled, Settled::Stored);
    }

    pub(super) fn store_invalid(&mut self, n: u64) {
        let flight = self.enter().begin(&key(n));
        let settled = self.enter().settle(flight, Answer::Invalid { value: b"" });
        assert_eq!(settled, Settled::Stored);
    }

    pub(super) fn hits(&mut self, n: u64) -> bool {
        match self.lookup(n) {
            Lookup::Hit(_) => true,
            Lookup::Resolve(flight, _) => {
                self.enter().abandon(flight);
                false
            }
            other => panic!("{other:?}"),
        }
    }
}

macro_rules! is {
    ($value:expr, $pattern:pat $(if $guard:expr)?) => {
        let value = $value;
        assert!(matches!(value, $pattern $(if $guard)?), "{value:?}");
    };
}

pub(super) use is;
