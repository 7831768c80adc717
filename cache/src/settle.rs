//! The end of a flight: an answer, a failure, or nothing.

use crate::entry::NewEntry;
use crate::flight::{News, Record};
use crate::layout::MAX_VALUE;
use crate::memory::{Memory, Sound};
use crate::purge::Stamped;
use crate::types::{Flight, SessionTag, Time, UserTag, Validity};
use crate::zone::Locked;

/// What the resolver said, to be stored. The value is the caller's own encoding.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// A valid session.
    Valid {
        /// The session.
        value: &'a [u8],
        /// Whose it is.
        user: UserTag,
        /// Its id, where the credentials tell it.
        session: Option<SessionTag>,
        /// When the credentials themselves expire, by the zone's clock: never used from then on.
        use_until: Option<Time>,
    },
    /// An explicit no.
    Invalid {
        /// What is worth keeping of it.
        value: &'a [u8],
    },
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is in the cache.
    Stored,
    /// It is not; the caller may use it all the same.
    Unstored(Refusal),
}

/// Why an answer was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A purge of its key, user or session came after the flight took off; for an invalid answer, a
    /// purge of any user or session. One of those who wait resolves again.
    Purged,
    /// The flight took off less than [`QUARANTINE`](crate::QUARANTINE) after a purge. Those who wait
    /// get it.
    Quarantined,
    /// The answer to a later flight is there.
    Superseded,
    /// Its credentials have expired already.
    Expired,
    /// Too large for the zone. Those who wait get it if there is room.
    TooLarge,
    /// The zone was found damaged and was emptied.
    Lost,
}

impl<'a> Answer<'a> {
    fn entry(&self, flight: &'a Flight) -> NewEntry<'a> {
        let (validity, value, user, session, use_until) = match *self {
            Answer::Valid {
                value,
                user,
                session,
                use_until,
            } => (Validity::Valid, value, Some(user), session, use_until),
            Answer::Invalid { value } => (Validity::Invalid, value, None, None, None),
        };
        NewEntry {
            key: &flight.key,
            validity,
            value,
            user,
            session,
            use_until,
            token: flight.token,
        }
    }
}

impl Locked<'_> {
    /// Ends a flight with an answer, which is stored unless something speaks against it.
    #[allow(clippy::needless_pass_by_value)] // a flight ends once
    pub fn settle(&mut self, flight: Flight, answer: Answer<'_>) -> Settled {
        self.attempt(|memory, now| memory.settle(&flight, &answer, now))
            .unwrap_or(Settled::Unstored(Refusal::Lost))
    }

    /// Ends a flight without an answer, and tells those who wait for it, in the caller's own words.
    #[allow(clippy::needless_pass_by_value)] // a flight ends once
    pub fn fail(&mut self, flight: Flight, words: &[u8]) {
        let words = if words.len() > MAX_VALUE { &[] } else { words };
        self.attempt(|memory, now| {
            if let Some(record) = memory.record_of(&flight)? {
                memory.land(&record, News::Failure, words, None, now)?;
                memory.call_waiters();
            }
            Ok(())
        });
    }

    /// Ends a flight with nothing: one of those who wait takes over.
    #[allow(clippy::needless_pass_by_value)] // a flight ends once
    pub fn abandon(&mut self, flight: Flight) {
        self.attempt(|memory, _| {
            if let Some(record) = memory.record_of(&flight)? {
                memory.remove_flight(&record)?;
                memory.call_waiters();
            }
            Ok(())
        });
    }
}

impl Memory<'_> {
    fn settle(&mut self, flight: &Flight, answer: &Answer<'_>, now: Time) -> Sound<Settled> {
        let new = answer.entry(flight);
        let refusal = self.refusal(flight, &new, now)?;
        match refusal {
            None => self.store(&new, now)?,
            Some(Refusal::Quarantined | Refusal::Expired | Refusal::TooLarge) => {
                self.tell(flight, &new, now)?;
            }
            Some(Refusal::Purged | Refusal::Superseded | Refusal::Lost) => {
                if let Some(record) = self.record_of(flight)? {
                    self.remove_flight(&record)?;
                }
            }
        }
        self.call_waiters();
        Ok(refusal.map_or(Settled::Stored, Settled::Unstored))
    }

    fn refusal(
        &mut self,
        flight: &Flight,
        new: &NewEntry<'_>,
        now: Time,
    ) -> Sound<Option<Refusal>> {
        let stamped = self.stamped(flight, new.user, new.session, now);
        if stamped == Stamped::Purged {
            return Ok(Some(Refusal::Purged));
        }
        if let Some(entry) = self.find_entry(&flight.key)? {
            if entry.token > flight.token {
                return Ok(Some(Refusal::Superseded));
            }
        }
        if stamped == Stamped::Quarantined {
            return Ok(Some(Refusal::Quarantined));
        }
        if new.use_until.is_some_and(|until| until <= now) {
            return Ok(Some(Refusal::Expired));
        }
        if new.value.len() > MAX_VALUE || !self.could_fit(new.validity, new.blocks()) {
            return Ok(Some(Refusal::TooLarge));
        }
        Ok(None)
    }

    fn store(&mut self, new: &NewEntry<'_>, now: Time) -> Sound<()> {
        if let Some(old) = self.find_entry(new.key)? {
            self.remove_entry(&old)?;
        }
        self.make_room(new.validity, new.blocks(), now)?;
        self.insert_entry(new, now)?;
        if let Some(record) = self.find_flight(new.key)? {
            if record.token <= new.token {
                self.remove_flight(&record)?;
            }
        }
        Ok(())
    }

    /// Gives those who wait an answer that is not stored.
    fn tell(&mut self, flight: &Flight, new: &NewEntry<'_>, now: Time) -> Sound<()> {
        let Some(record) = self.record_of(flight)? else {
            return Ok(());
        };
        let until = new.use_until;
        // What has expired may be used by those who waited as by the one who asked.
        let until = until.filter(|&until| until > now);
        if new.value.len() > MAX_VALUE {
            return self.remove_flight(&record);
        }
        let news = News::Answer(new.validity);
        self.land(&record, news, new.value, until, now)
    }

    /// The flight's record, if it is still the one that others wait for.
    fn record_of(&self, flight: &Flight) -> Sound<Option<Record>> {
        let record = self.find_flight(&flight.key)?;
        Ok(record.filter(|record| record.is_flying() && record.token == flight.token))
    }
}
