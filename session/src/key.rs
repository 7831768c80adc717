//! What a cached answer belongs to.

use crate::credentials::Credentials;

/// The cache's key: a digest, from which no credential can be read.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// The digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of this digest.
    pub fn from_bytes(bytes: [u8; 32]) -> Key {
        Key(bytes)
    }
}

/// The key of a resolver request.
pub fn cache_key(
    url: &[u8],
    host: &[u8],
    forwarded_host: Option<&[u8]>,
    credentials: &Credentials,
) -> Key {
    let _ = (url, host, forwarded_host, credentials);
    todo!()
}
