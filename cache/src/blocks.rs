//! Free blocks, and values kept in chains of blocks.

use crate::layout::{header, Half, PAYLOAD_BYTES};
use crate::memory::{Block, Corrupt, Memory, Role, Sound};

/// Blocks that a value of this length takes, the block that it hangs on not counted.
pub(crate) fn value_blocks(len: usize) -> u64 {
    len.div_ceil(PAYLOAD_BYTES) as u64
}

impl Memory<'_> {
    /// Takes a free block. The quotas of entries and flights make sure that there is one.
    pub(crate) fn take_block(&mut self, role: Role) -> Sound<Block> {
        let free = Half::low(header::FREE);
        let block = match self.block_at(free)? {
            Some(block) => {
                let next = self.next(block, Role::Free)?;
                self.set_block_at(free, next);
                block
            }
            None => {
                let number = self.get(header::EVER_USED).checked_add(1).ok_or(Corrupt)?;
                let number = u32::try_from(number).map_err(|_| Corrupt)?;
                let block = self.block(number)?.ok_or(Corrupt)?;
                self.set(header::EVER_USED, u64::from(number));
                block
            }
        };
        self.set_head(block, role, None);
        Ok(block)
    }

    pub(crate) fn give_block(&mut self, block: Block) -> Sound<()> {
        let free = Half::low(header::FREE);
        let first = self.block_at(free)?;
        self.set_head(block, Role::Free, first);
        self.set_block_at(free, Some(block));
        Ok(())
    }

    /// Hangs a value on a block that has none.
    pub(crate) fn hang_value(&mut self, on: Block, role: Role, value: &[u8]) -> Sound<()> {
        let mut rest = None;
        for payload in value.chunks(PAYLOAD_BYTES).rev() {
            let block = self.take_block(Role::ValueOf(on))?;
            self.set_head(block, Role::ValueOf(on), rest);
            for (index, bytes) in payload.chunks(8).enumerate() {
                let mut word = [0; 8];
                word[..bytes.len()].copy_from_slice(bytes);
                self.set_field(block, 1 + index, u64::from_le_bytes(word));
            }
            rest = Some(block);
        }
        self.set_head(on, role, rest);
        Ok(())
    }

    /// Copies the value of a block to `value`, replacing what is there.
    pub(crate) fn read_value(
        &self,
        on: Block,
        role: Role,
        len: usize,
        value: &mut Vec<u8>,
    ) -> Sound<()> {
        value.clear();
        value.resize(value_blocks(len) as usize * PAYLOAD_BYTES, 0);
        let mut next = self.next(on, role)?;
        for payload in value.chunks_exact_mut(PAYLOAD_BYTES) {
            let block = next.ok_or(Corrupt)?;
            next = self.next(block, Role::ValueOf(on))?;
            self.read_payload(block, payload);
        }
        value.truncate(len);
        match next {
            None => Ok(()),
            Some(_) => Err(Corrupt),
        }
    }

    /// Frees the value of a block and says how many blocks that were.
    pub(crate) fn free_value(&mut self, on: Block, role: Role, len: usize) -> Sound<u64> {
        let mut next = self.next(on, role)?;
        self.set_head(on, role, None);
        let mut freed = 0;
        while let Some(block) = next {
            next = self.next(block, Role::ValueOf(on))?;
            self.give_block(block)?;
            freed += 1;
        }
        if freed == value_blocks(len) {
            Ok(freed)
        } else {
            Err(Corrupt)
        }
    }
}
