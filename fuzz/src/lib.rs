//! What the fuzz targets do with an input, and second opinions, written with other means than what they judge.

#![forbid(unsafe_code)]

pub mod accept;
pub mod cache;
pub mod credentials;
pub mod event;
pub mod go;
pub mod purge;
pub mod reference;
pub mod require;
pub mod response;
pub mod return_url;
pub mod session;

/// Panics if an input shows that something is broken.
pub type Body = fn(&[u8]);

/// Each target's name and body.
pub const TARGETS: [(&str, Body); 9] = [
    ("accept", accept::run),
    ("cache", cache::run),
    ("credentials", credentials::run),
    ("event", event::run),
    ("purge", purge::run),
    ("require", require::run),
    ("response", response::run),
    ("return_url", return_url::run),
    ("session", session::run),
];

/// Splits at the first occurrence of a byte; the second half is empty when there is none.
pub fn cut(bytes: &[u8], at: u8) -> (&[u8], &[u8]) {
    match bytes.iter().position(|&byte| byte == at) {
        Some(n) => (&bytes[..n], &bytes[n + 1..]),
        None => (bytes, &[]),
    }
}

/// Repeatable numbers that depend on all of the input.
pub struct Numbers(u64);

impl Numbers {
    /// Numbers for this input.
    pub fn of(input: &[u8]) -> Numbers {
        let hash = input
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
        Numbers(hash | 1)
    }

    /// One below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end.max(1)
    }
}
