//! Doubly linked lists of blocks: hash chains, recency, flights in order.

use crate::layout::{entry, flight, header, Half};
use crate::memory::{Block, Corrupt, Memory, Role, Sound};

/// The word of a block that links it into one kind of list: next low, previous high.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    ByKey,
    Recent,
    ByUser,
    BySession,
    FlightByKey,
    FlightOrder,
}

impl Link {
    fn field(self) -> usize {
        match self {
            Link::ByKey => entry::BY_KEY,
            Link::Recent => entry::RECENT,
            Link::ByUser => entry::BY_USER,
            Link::BySession => entry::BY_SESSION,
            Link::FlightByKey => flight::BY_KEY,
            Link::FlightOrder => flight::ORDER,
        }
    }

    fn role(self) -> Role {
        match self {
            Link::ByKey | Link::Recent | Link::ByUser | Link::BySession => Role::Entry,
            Link::FlightByKey | Link::FlightOrder => Role::Flight,
        }
    }
}

/// One list: where its ends are kept and how its blocks are linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct List {
    head: Half,
    tail: Option<Half>,
    link: Link,
}

impl List {
    /// A bucket's chain.
    pub(crate) fn chain(head: Half, link: Link) -> Self {
        List {
            head,
            tail: None,
            link,
        }
    }

    pub(crate) const RECENT_VALID: List = List::ends(header::RECENT_VALID, Link::Recent);
    pub(crate) const RECENT_INVALID: List = List::ends(header::RECENT_INVALID, Link::Recent);
    pub(crate) const FLYING: List = List::ends(header::FLYING, Link::FlightOrder);
    pub(crate) const LANDED: List = List::ends(header::LANDED, Link::FlightOrder);

    const fn ends(word: usize, link: Link) -> Self {
        List {
            head: Half::low(word),
            tail: Some(Half::high(word)),
            link,
        }
    }
}

impl<'m> Memory<'m> {
    fn link(&self, list: List, block: Block) -> (Half, Half) {
        let word = self.layout.field(block.number(), list.link.field());
        (Half::low(word), Half::high(word))
    }

    pub(crate) fn push_front(&mut self, list: List, block: Block) -> Sound<()> {
        let first = self.block_at(list.head)?;
        let (next, previous) = self.link(list, block);
        self.set_block_at(next, first);
        self.set_block_at(previous, None);
        match first {
            Some(first) => {
                self.expect(first, list.link.role())?;
                let (_, previous) = self.link(list, first);
                self.set_block_at(previous, Some(block));
            }
            None => self.set_tail(list, Some(block)),
        }
        self.set_block_at(list.head, Some(block));
        Ok(())
    }

    /// Takes a block out; its neighbours must agree that it is there.
    pub(crate) fn unlink(&mut self, list: List, block: Block) -> Sound<()> {
        let (next, previous) = self.link(list, block);
        let next = self.block_at(next)?;
        let previous = self.block_at(previous)?;

        let from_before = match previous {
            Some(previous) => {
                self.expect(previous, list.link.role())?;
                self.link(list, previous).0
            }
            None => list.head,
        };
        if self.block_at(from_before)? != Some(block) {
            return Err(Corrupt);
        }
        match next {
            Some(next) => {
                self.expect(next, list.link.role())?;
                let (_, from_behind) = self.link(list, next);
                if self.block_at(from_behind)? != Some(block) {
                    return Err(Corrupt);
                }
                self.set_block_at(from_behind, previous);
            }
            None => {
                if list.tail.is_some() && self.last(list)? != Some(block) {
                    return Err(Corrupt);
                }
                self.set_tail(list, previous);
            }
        }
        self.set_block_at(from_before, next);
        Ok(())
    }

    /// The block that was put in first; none for chains, which keep no tail.
    pub(crate) fn last(&self, list: List) -> Sound<Option<Block>> {
        match list.tail {
            None => Ok(None),
            Some(tail) => {
                let last = self.block_at(tail)?;
                if let Some(last) = last {
                    self.expect(last, list.link.role())?;
                }
                Ok(last)
            }
        }
    }

    /// The block that was put in just before this one.
    pub(crate) fn previous(&self, list: List, block: Block) -> Sound<Option<Block>> {
        let previous = self.block_at(self.link(list, block).1)?;
        if let Some(previous) = previous {
            self.expect(previous, list.link.role())?;
        }
        Ok(previous)
    }

    fn set_tail(&mut self, list: List, block: Option<Block>) {
        if let Some(tail) = list.tail {
            self.set_block_at(tail, block);
        }
    }

    pub(crate) fn walk(&self, list: List) -> Walk {
        Walk {
            list,
            next: self.half(list.head),
            steps: self.layout.blocks,
        }
    }
}

/// A walk along a list. The block it gave last may be unlinked before the next step.
pub(crate) struct Walk {
    list: List,
    next: u32,
    steps: u32,
}

impl Walk {
    #[inline]
    pub(crate) fn step(&mut self, memory: &Memory<'_>) -> Sound<Option<Block>> {
        let Some(block) = memory.block(self.next)? else {
            return Ok(None);
        };
        self.steps = self.steps.checked_sub(1).ok_or(Corrupt)?;
        memory.expect(block, self.list.link.role())?;
        self.next = memory.half(memory.link(self.list, block).0);
        Ok(Some(block))
    }
}
