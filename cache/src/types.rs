//! What the cache is asked about and what it hands out.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

/// Processes keep a clock each, updated once per turn of their event loop: a time may lie this far in
/// the future and still be meant.
const SKEW: u64 = 1_000;

/// A moment, in milliseconds of the caller's clock.
///
/// All processes must use the same clock (the monotonic one of the machine, or wall-clock time). It may
/// be set back; what is then in the future counts as long past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// A moment from milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Time(millis)
    }

    /// Milliseconds of the caller's clock.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This moment and a while.
    #[must_use]
    pub fn after(self, while_: Duration) -> Self {
        Time(self.0.saturating_add(millis(while_)))
    }

    /// How long ago `earlier` was; none if it lies in the future.
    pub(crate) fn since(self, earlier: Time) -> Option<Duration> {
        if earlier.0 > self.0.saturating_add(SKEW) {
            return None;
        }
        Some(Duration::from_millis(self.0.saturating_sub(earlier.0)))
    }

    /// Whether `earlier` was less than `span` ago, and not in the future.
    pub(crate) fn within(self, span: Duration, earlier: Time) -> bool {
        self.since(earlier).is_some_and(|age| age < span)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What an answer is stored under: a SHA-256 over everything that decides the answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u64; 4]);

impl Key {
    /// The key of a digest. Nothing is derived from it that could be turned back.
    pub fn new(digest: [u8; 32]) -> Self {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(digest.chunks_exact(8)) {
            let bytes = bytes.try_into().expect("chunks of eight");
            *word = u64::from_le_bytes(bytes);
        }
        Key(words)
    }

    pub(crate) fn from_words(words: [u64; 4]) -> Self {
        Key(words)
    }

    pub(crate) fn words(&self) -> &[u64; 4] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:016x}..)", self.0[0].swap_bytes())
    }
}

macro_rules! tag {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Two that share a tag are purged together, which costs a resolve and nothing else; a collision
        /// resistant digest cut to 64 bits is enough.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name(NonZeroU64);

        impl $name {
            /// The tag of a digest or hash of the id.
            pub fn new(hash: u64) -> Self {
                $name(NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN))
            }

            pub(crate) fn word(self) -> u64 {
                self.0.get()
            }

            pub(crate) fn from_word(word: u64) -> Option<Self> {
                NonZeroU64::new(word).map($name)
            }
        }
    };
}

tag! {
    /// Stands for a user id in the index by user.
    UserTag
}

tag! {
    /// Stands for a session id in the index by session.
    SessionTag
}

/// What the resolver said of the credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Validity {
    /// A valid session.
    Valid,
    /// An explicit no.
    Invalid,
}

/// A place in the order of flights and purges. Never reused, not even when the zone is emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

impl Token {
    const END: u64 = 1 << 62;

    /// Of a flight that must not be stored.
    pub(crate) const NONE: Token = Token(0);

    pub(crate) fn word(self) -> u64 {
        self.0
    }

    pub(crate) fn from_word(word: u64) -> Option<Self> {
        (word > 0 && word < Self::END).then_some(Token(word))
    }

    /// Where a zone of unknown past starts: behind all that an earlier zone is likely to have drawn.
    pub(crate) fn first(now: Time) -> Self {
        Token(((now.0 << 20) % (Self::END / 2)) | 1)
    }
}

/// The right to resolve a key, and the duty to [`settle`], [`fail`] or [`abandon`].
///
/// [`settle`]: crate::Locked::settle
/// [`fail`]: crate::Locked::fail
/// [`abandon`]: crate::Locked::abandon
#[derive(Debug)]
#[must_use = "others wait for its answer"]
pub struct Flight {
    pub(crate) key: Key,
    pub(crate) token: Token,
    pub(crate) started: Time,
}

impl Flight {
    /// The key that is resolved.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The flight's place in the order of flights and purges.
    pub fn token(&self) -> Token {
        self.token
    }
}

/// The wish for the answer of someone else's flight, or of a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub(crate) key: Key,
    pub(crate) token: Token,
    pub(crate) expires: Time,
}

impl Ticket {
    /// The key that is resolved.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// When the flight's time is up: poll then, even if nothing was completed.
    pub fn expires(&self) -> Time {
        self.expires
    }
}
