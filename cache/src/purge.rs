//! Purges: removal by key, user and session, and the stamps that keep late answers out.
//!
//! A stamp is shared by all subjects of one hash: it may refuse an answer that it needn't, never the
//! other way. It holds the token of the last purge (what took off before is refused) and the time of the
//! last purge of a user or session (what took off soon after is refused too).

use std::time::Duration;

use crate::layout::{entry, header};
use crate::memory::{Memory, Sound};
use crate::table::Subject;
use crate::types::{Flight, Key, SessionTag, Time, UserTag};
use crate::zone::Locked;

/// Authgear may answer from its own cache for a moment after it reported a change: for this long after
/// a purge, no answer about that user or session is stored.
pub const QUARANTINE: Duration = Duration::from_secs(2);

/// What the stamps say of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamped {
    /// It may be stored.
    Clear,
    /// A purge came after the flight took off.
    Purged,
    /// The flight took off soon after a purge.
    Quarantined,
}

impl Locked<'_> {
    /// Removes a user's entries and says how many. What is in flight now is not stored, nor anything
    /// about that user for [`QUARANTINE`].
    pub fn purge_user(&mut self, user: UserTag) -> usize {
        self.attempt(|memory, now| {
            memory.stamp(Subject::User(user), now)?;
            memory.remove_user(user)
        })
        .unwrap_or(0)
    }

    /// Removes a session's entries and says how many. What is in flight now is not stored, nor anything
    /// about that session for [`QUARANTINE`].
    pub fn purge_session(&mut self, session: SessionTag) -> usize {
        self.attempt(|memory, now| {
            memory.stamp(Subject::Session(session), now)?;
            memory.remove_session(session)
        })
        .unwrap_or(0)
    }

    /// Removes a key's entry and says whether there was one. What is in flight now is not stored; the
    /// next answer is.
    pub fn purge_key(&mut self, key: &Key) -> bool {
        self.attempt(|memory, now| {
            memory.stamp(Subject::Key(*key), now)?;
            if let Some(record) = memory.find_flight(key)? {
                memory.remove_flight(&record)?;
                memory.call_waiters();
            }
            let entry = memory.find_entry(key)?;
            if let Some(entry) = &entry {
                memory.remove_entry(entry)?;
            }
            Ok(entry.is_some())
        })
        .unwrap_or(false)
    }
}

impl Memory<'_> {
    fn stamp(&mut self, subject: Subject, now: Time) -> Sound<()> {
        let token = self.draw()?;
        let stamp = self.stamp_of(subject);
        self.set(stamp, token.word());
        if !matches!(subject, Subject::Key(_)) {
            // Zero means never.
            self.set(stamp + 1, now.as_millis().max(1));
            self.set(header::PURGED, token.word());
        }
        Ok(())
    }

    fn remove_user(&mut self, user: UserTag) -> Sound<usize> {
        let mut removed = 0;
        let mut walk = self.walk(self.entries_of_user(user));
        while let Some(block) = walk.step(self)? {
            if self.field(block, entry::USER) == user.word() {
                self.remove_entry(&self.entry(block)?)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn remove_session(&mut self, session: SessionTag) -> Sound<usize> {
        let mut removed = 0;
        let mut walk = self.walk(self.entries_of_session(session));
        while let Some(block) = walk.step(self)? {
            if self.field(block, entry::SESSION) == session.word() {
                self.remove_entry(&self.entry(block)?)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// What the purges of any of these subjects, and the loss of the stamps, say of a flight's answer.
    pub(crate) fn stamped(
        &mut self,
        flight: &Flight,
        user: Option<UserTag>,
        session: Option<SessionTag>,
        now: Time,
    ) -> Stamped {
        if flight.token.word() < self.get(header::FLOOR) {
            return Stamped::Purged;
        }
        // An invalid answer doesn't say whom it is about.
        if user.is_none() && flight.token.word() < self.get(header::PURGED) {
            return Stamped::Purged;
        }
        let user = user.map(Subject::User);
        let session = session.map(Subject::Session);
        let mut quarantined = self.is_recent(header::BLIND_SINCE, flight.started, now);
        for subject in [Some(Subject::Key(flight.key)), user, session] {
            let Some(subject) = subject else { continue };
            let stamp = self.stamp_of(subject);
            if self.get(stamp) > flight.token.word() {
                return Stamped::Purged;
            }
            if !matches!(subject, Subject::Key(_)) {
                quarantined |= self.is_recent(stamp + 1, flight.started, now);
            }
        }
        if quarantined {
            Stamped::Quarantined
        } else {
            Stamped::Clear
        }
    }

    /// Whether what started then started less than [`QUARANTINE`] after the time in that word. A time in
    /// the future (the clock was set back) is set to now.
    fn is_recent(&mut self, word: usize, started: Time, now: Time) -> bool {
        let at = Time::from_millis(self.get(word));
        if at.as_millis() == 0 {
            return false;
        }
        if now.since(at).is_none() {
            self.set(word, now.as_millis().max(1));
            return true;
        }
        started < at.after(QUARANTINE)
    }
}
