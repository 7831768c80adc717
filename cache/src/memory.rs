//! Reading and writing the region, and the mark that tells of an unfinished change.

use std::num::NonZeroU32;
use std::sync::atomic::{fence, AtomicU64, Ordering};

use crate::layout::{header, Half, Layout, BLOCK_WORDS, HEAD};
use crate::types::Token;

/// The region contradicts itself. Whoever meets this empties the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupt;

pub(crate) type Sound<T> = Result<T, Corrupt>;

/// The number of a block, known to lie inside the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block(NonZeroU32);

impl Block {
    pub(crate) fn number(self) -> u32 {
        self.0.get()
    }
}

/// What a block is used for; a value block names the block that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Free,
    Entry,
    Flight,
    ValueOf(Block),
}

impl Role {
    fn code(self) -> u32 {
        match self {
            Role::Free => 0,
            Role::Entry => u32::MAX,
            Role::Flight => u32::MAX - 1,
            Role::ValueOf(block) => block.number(),
        }
    }
}

/// The region while the lock is held.
///
/// Atomics, not plain words: other processes read some of them without the lock, and the compiler must
/// not move a write across the dirty mark. Relaxed ones cost what plain ones do.
pub(crate) struct Memory<'m> {
    words: &'m [AtomicU64],
    pub(crate) layout: &'m Layout,
    changing: bool,
}

impl<'m> Memory<'m> {
    /// `layout` is the one of `words`.
    pub(crate) fn new(words: &'m [AtomicU64], layout: &'m Layout) -> Self {
        Memory {
            words,
            layout,
            changing: false,
        }
    }

    #[inline]
    pub(crate) fn get(&self, word: usize) -> u64 {
        self.words[word].load(Ordering::Relaxed)
    }

    /// Writes a word; the first write of a step sets the dirty mark.
    #[inline]
    pub(crate) fn set(&mut self, word: usize, value: u64) {
        if !self.changing {
            self.changing = true;
            self.write(header::DIRTY, 1);
            fence(Ordering::Release);
        }
        self.write(word, value);
    }

    /// Ends a step: what was written is whole.
    pub(crate) fn commit(&mut self) {
        if self.changing {
            fence(Ordering::Release);
            self.write(header::DIRTY, 0);
            self.changing = false;
        }
    }

    /// Whether someone died, or panicked, before the end of a step.
    pub(crate) fn is_dirty(&self) -> bool {
        self.get(header::DIRTY) != 0
    }

    #[inline]
    fn write(&self, word: usize, value: u64) {
        #[cfg(any(test, feature = "kill-points"))]
        crate::kill_points::before_write();
        self.words[word].store(value, Ordering::Relaxed);
    }

    pub(crate) fn add(&mut self, word: usize, value: u64) {
        self.set(word, self.get(word).wrapping_add(value));
    }

    pub(crate) fn sub(&mut self, word: usize, value: u64) -> Sound<()> {
        let rest = self.get(word).checked_sub(value).ok_or(Corrupt)?;
        self.set(word, rest);
        Ok(())
    }

    pub(crate) fn half(&self, half: Half) -> u32 {
        (self.get(half.word) >> half.shift) as u32
    }

    pub(crate) fn set_half(&mut self, half: Half, value: u32) {
        let kept = self.get(half.word) & !(u64::from(u32::MAX) << half.shift);
        self.set(half.word, kept | u64::from(value) << half.shift);
    }

    #[inline]
    pub(crate) fn field(&self, block: Block, field: usize) -> u64 {
        self.get(self.layout.field(block.number(), field))
    }

    #[inline]
    pub(crate) fn set_field(&mut self, block: Block, field: usize, value: u64) {
        self.set(self.layout.field(block.number(), field), value);
    }

    /// All words of a block.
    #[inline]
    pub(crate) fn words(&self, block: Block) -> &[AtomicU64; BLOCK_WORDS] {
        let first = self.layout.field(block.number(), HEAD);
        self.words[first..]
            .first_chunk()
            .expect("blocks end where the region does")
    }

    /// Copies the words of a block after the first, as bytes.
    #[inline]
    pub(crate) fn read_payload(&self, block: Block, payload: &mut [u8]) {
        let words = &self.words(block)[HEAD + 1..];
        for (bytes, word) in payload.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
    }

    /// The block of a stored number; zero is none.
    #[inline]
    pub(crate) fn block(&self, number: u32) -> Sound<Option<Block>> {
        match NonZeroU32::new(number) {
            None => Ok(None),
            Some(number) if number.get() <= self.layout.blocks => Ok(Some(Block(number))),
            Some(_) => Err(Corrupt),
        }
    }

    pub(crate) fn block_at(&self, half: Half) -> Sound<Option<Block>> {
        self.block(self.half(half))
    }

    pub(crate) fn set_block_at(&mut self, half: Half, block: Option<Block>) {
        self.set_half(half, block.map_or(0, Block::number));
    }

    /// The block that follows in the block's own chain, if the block has that role.
    #[inline]
    pub(crate) fn next(&self, block: Block, role: Role) -> Sound<Option<Block>> {
        let head = self.field(block, HEAD);
        if (head >> 32) as u32 != role.code() {
            return Err(Corrupt);
        }
        self.block(head as u32)
    }

    #[inline]
    pub(crate) fn expect(&self, block: Block, role: Role) -> Sound<()> {
        self.next(block, role).map(drop)
    }

    pub(crate) fn set_head(&mut self, block: Block, role: Role, next: Option<Block>) {
        let next = next.map_or(0, Block::number);
        self.set_field(block, HEAD, u64::from(role.code()) << 32 | u64::from(next));
    }

    /// Draws the next token.
    pub(crate) fn draw(&mut self) -> Sound<Token> {
        let token = Token::from_word(self.get(header::TOKEN)).ok_or(Corrupt)?;
        self.set(header::TOKEN, token.word() + 1);
        Ok(token)
    }
}
