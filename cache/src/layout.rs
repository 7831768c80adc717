//! Where everything lies in the region.

use std::fmt;

/// The first word of a region that holds a zone.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"authgear");

/// Changes with every change of the layout or of a field's meaning.
pub(crate) const VERSION: u64 = 1;

/// Words of one block.
pub(crate) const BLOCK_WORDS: usize = 16;

/// Bytes of a value that one block holds; its first word links it.
pub(crate) const PAYLOAD_BYTES: usize = (BLOCK_WORDS - 1) * 8;

/// The largest value.
pub(crate) const MAX_VALUE: usize = 64 * 1024;

const HEADER_WORDS: usize = 64;
const STAMP_WORDS: usize = 2;
const CACHE_LINE_WORDS: usize = 8;
const MIN_BLOCKS: u32 = 64;

/// Words of the header.
pub(crate) mod header {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const VERSION: usize = 1;
    pub(crate) const SIZE: usize = 2;
    pub(crate) const DIRTY: usize = 3;
    pub(crate) const SEED: [usize; 2] = [4, 5];
    /// The next token.
    pub(crate) const TOKEN: usize = 6;
    /// Answers to flights before this token are not stored.
    pub(crate) const FLOOR: usize = 7;
    /// Read without the lock by those who wait: alone in its cache line.
    pub(crate) const COMPLETIONS: usize = 8;
    /// First free block (low half).
    pub(crate) const FREE: usize = 16;
    /// Blocks that were ever used; those above are free as well.
    pub(crate) const EVER_USED: usize = 17;
    /// Ends of the recency lists and of the flights' lists: head low, tail high.
    pub(crate) const RECENT_VALID: usize = 18;
    pub(crate) const RECENT_INVALID: usize = 19;
    pub(crate) const FLYING: usize = 20;
    pub(crate) const LANDED: usize = 21;
    pub(crate) const VALID_ENTRIES: usize = 24;
    pub(crate) const INVALID_ENTRIES: usize = 25;
    pub(crate) const VALID_BLOCKS: usize = 26;
    pub(crate) const INVALID_BLOCKS: usize = 27;
    pub(crate) const FLYING_COUNT: usize = 28;
    pub(crate) const FLIGHT_BLOCKS: usize = 29;
    /// The words that emptying the zone sets to zero.
    pub(crate) const EMPTIED: std::ops::Range<usize> = FREE..32;
    pub(crate) const EVICTIONS: usize = 32;
    /// Evictions when the caller was last told, and when that was.
    pub(crate) const EVICTIONS_SAID: usize = 33;
    pub(crate) const SAID_AT: usize = 34;
    pub(crate) const RECOVERIES: usize = 35;
    /// When the purge stamps were lost; zero if never.
    pub(crate) const BLIND_SINCE: usize = 36;
    /// The token of the last purge of any user or session.
    pub(crate) const PURGED: usize = 37;
    pub(crate) const END: usize = super::HEADER_WORDS;
}

/// The first word of each block: next block low, role high.
pub(crate) const HEAD: usize = 0;

/// Words of an entry's block.
pub(crate) mod entry {
    pub(crate) const KEY: usize = 1;
    pub(crate) const BY_KEY: usize = 5;
    pub(crate) const RECENT: usize = 6;
    pub(crate) const USER: usize = 7;
    pub(crate) const BY_USER: usize = 8;
    pub(crate) const SESSION: usize = 9;
    pub(crate) const BY_SESSION: usize = 10;
    pub(crate) const STORED: usize = 11;
    pub(crate) const USE_UNTIL: usize = 12;
    pub(crate) const TOKEN: usize = 13;
    pub(crate) const TOUCHED: usize = 14;
    /// Validity low byte, length of the value above.
    pub(crate) const KIND: usize = 15;
}

/// Words of a flight's block.
pub(crate) mod flight {
    pub(crate) const KEY: usize = 1;
    pub(crate) const BY_KEY: usize = 5;
    pub(crate) const ORDER: usize = 6;
    pub(crate) const TOKEN: usize = 7;
    pub(crate) const OWNER: usize = 8;
    pub(crate) const STARTED: usize = 9;
    pub(crate) const EXPIRES: usize = 10;
    /// The last flight that told something: its token, when, what and up to when it may be used.
    pub(crate) const TOLD_TOKEN: usize = 11;
    pub(crate) const TOLD_AT: usize = 12;
    pub(crate) const TOLD_KIND: usize = 13;
    pub(crate) const TOLD_UNTIL: usize = 14;
}

/// The region is too small to be a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall;

impl fmt::Display for TooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too small for a session cache")
    }
}

impl std::error::Error for TooSmall {}

/// A row of buckets, two to a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buckets {
    at: usize,
    first: usize,
    pub(crate) count: usize,
}

impl Buckets {
    /// The bucket of a hash.
    pub(crate) fn half(&self, hash: u64) -> Half {
        let half = self.first + spread(hash, self.count);
        Half {
            word: self.at + half / 2,
            shift: (half % 2) as u32 * 32,
        }
    }
}

#[cfg(test)]
impl Buckets {
    /// All buckets of the row.
    pub(crate) fn all(self) -> impl Iterator<Item = Half> {
        (self.first..self.first + self.count).map(move |half| Half {
            word: self.at + half / 2,
            shift: (half % 2) as u32 * 32,
        })
    }
}

/// Where a `u32` lies: two share a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Half {
    pub(crate) word: usize,
    pub(crate) shift: u32,
}

impl Half {
    pub(crate) const fn low(word: usize) -> Self {
        Half { word, shift: 0 }
    }

    pub(crate) const fn high(word: usize) -> Self {
        Half { word, shift: 32 }
    }
}

/// A number below `count` from a well-mixed hash, without a division.
pub(crate) fn spread(hash: u64, count: usize) -> usize {
    ((u128::from(hash) * count as u128) >> 64) as usize
}

/// How a region of a given size is divided. A function of the size alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Words in use; the region may have a few more.
    pub(crate) words: usize,
    stamps_at: usize,
    stamps: usize,
    pub(crate) keys: Buckets,
    pub(crate) users: Buckets,
    pub(crate) sessions: Buckets,
    pub(crate) flights: Buckets,
    buckets_end: usize,
    blocks_at: usize,
    pub(crate) blocks: u32,
}

impl Layout {
    pub(crate) fn of(words: usize) -> Result<Self, TooSmall> {
        let stamps = (words / 256).clamp(64, 65_536);
        let fixed = HEADER_WORDS + stamps * STAMP_WORDS + CACHE_LINE_WORDS;
        let room = words.checked_sub(fixed).ok_or(TooSmall)?;
        let most = (room / BLOCK_WORDS).min(u32::MAX as usize / 2) as u32;

        if most < MIN_BLOCKS {
            return Err(TooSmall);
        }

        // The buckets of n blocks take between n / 2 and n / 2 + n / 16 words.
        let mut blocks = (u64::from(most) * 28 / 29) as u32;
        let layout = loop {
            let layout = Self::with(stamps, blocks);
            if layout.words <= words {
                break layout;
            }
            blocks -= 1 + blocks / 1024;
        };
        if layout.blocks < MIN_BLOCKS {
            return Err(TooSmall);
        }
        Ok(layout)
    }

    fn with(stamps: usize, blocks: u32) -> Self {
        let stamps_at = HEADER_WORDS;
        let at = stamps_at + stamps * STAMP_WORDS;
        // A typical entry has three blocks.
        let entries = blocks as usize / 3 + 1;
        let row = |index: usize, count| Buckets {
            at,
            first: index * entries,
            count,
        };
        let flights = row(3, flight_share(blocks) as usize);
        let buckets_end = at + (flights.first + flights.count).div_ceil(2);
        let blocks_at = buckets_end.next_multiple_of(CACHE_LINE_WORDS);
        Layout {
            words: blocks_at + blocks as usize * BLOCK_WORDS,
            stamps_at,
            stamps,
            keys: row(0, entries),
            users: row(1, entries),
            sessions: row(2, entries),
            flights,
            buckets_end,
            blocks_at,
            blocks,
        }
    }

    /// The word of a block's field; `block` counts from one.
    pub(crate) fn field(&self, block: u32, field: usize) -> usize {
        self.blocks_at + (block as usize - 1) * BLOCK_WORDS + field
    }

    /// The first word of the stamp of a hash: token, then time.
    pub(crate) fn stamp(&self, hash: u64) -> usize {
        self.stamps_at + spread(hash, self.stamps) * STAMP_WORDS
    }

    pub(crate) fn stamp_words(&self) -> std::ops::Range<usize> {
        self.stamps_at..self.stamps_at + self.stamps * STAMP_WORDS
    }

    pub(crate) fn bucket_words(&self) -> std::ops::Range<usize> {
        self.keys.at..self.buckets_end
    }

    /// Blocks that flights may use.
    pub(crate) fn flight_blocks(&self) -> u64 {
        u64::from(flight_share(self.blocks))
    }

    /// Blocks that entries may use.
    pub(crate) fn entry_blocks(&self) -> u64 {
        u64::from(self.blocks) - self.flight_blocks()
    }

    /// Blocks that entries of invalid answers may use.
    pub(crate) fn invalid_blocks(&self) -> u64 {
        self.entry_blocks() / 10
    }
}

fn flight_share(blocks: u32) -> u32 {
    (blocks / 16).max(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_divided_without_overlap() {
        for words in (1_300..20_000).chain([1_310_720, 1_310_721, 134_217_728]) {
            let layout = Layout::of(words).unwrap();
            assert!(layout.words <= words);
            assert!(words - layout.words < words / 100 + 64, "{words} wastes");
            assert_eq!(layout.stamp_words().end, layout.bucket_words().start);
            let last = layout.flights.half(u64::MAX);
            assert!(last.word < layout.bucket_words().end);
            assert!(layout.bucket_words().end <= layout.field(1, 0));
            assert_eq!(layout.field(layout.blocks, 15), layout.words - 1);
            assert_eq!(layout.field(1, 0) % CACHE_LINE_WORDS, 0);
            assert!(layout.invalid_blocks() > 0);
        }
    }

    #[test]
    fn tiny_regions_are_refused() {
        for words in 0..1_000 {
            assert_eq!(Layout::of(words), Err(TooSmall));
        }
    }

    #[test]
    fn rows_of_buckets_do_not_overlap() {
        let layout = Layout::of(2_000).unwrap();
        let ends = |row: Buckets| (row.half(0), row.half(u64::MAX));
        let position = |half: Half| half.word * 2 + half.shift as usize / 32;
        let rows = [layout.keys, layout.users, layout.sessions, layout.flights];
        for pair in rows.windows(2) {
            assert_eq!(position(ends(pair[0]).1) + 1, position(ends(pair[1]).0));
        }
    }
}
