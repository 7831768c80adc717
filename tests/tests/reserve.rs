//! The reserve behind the module's allocator. What comes of it is in `injection.rs`.

#[allow(dead_code)]
#[path = "../../src/ngx/reserve.rs"]
mod reserve;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use reserve::Reserved;

/// The system's allocator, which may be told to fail.
#[derive(Default)]
struct Moody {
    fails: Cell<bool>,
    given: Cell<isize>,
}

// SAFETY: as System's, or a failure.
unsafe impl GlobalAlloc for &Moody {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.fails.get() {
            return std::ptr::null_mut();
        }
        self.given.set(self.given.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        self.given.set(self.given.get() - 1);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(p, layout) }
    }
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a layout")
}

/// A block with a pattern, by which it is seen whether another one overlaps it.
struct Block {
    p: *mut u8,
    layout: Layout,
    pattern: u8,
}

impl Block {
    fn get(of: &impl GlobalAlloc, layout: Layout, pattern: u8) -> Option<Block> {
        // SAFETY: no test asks for nothing.
        let p = unsafe { of.alloc(layout) };
        if p.is_null() {
            return None;
        }
        assert_eq!(p.addr() % layout.align(), 0);
        // SAFETY: it has this size.
        unsafe { p.write_bytes(pattern, layout.size()) };
        Some(Block { p, layout, pattern })
    }

    fn is_whole(&self) -> bool {
        // SAFETY: it has this size, and was written.
        let bytes = unsafe { std::slice::from_raw_parts(self.p, self.layout.size()) };
        bytes.iter().all(|byte| *byte == self.pattern)
    }

    fn give_back(self, to: &impl GlobalAlloc) {
        assert!(self.is_whole());
        // SAFETY: it came from there, once.
        unsafe { to.dealloc(self.p, self.layout) };
    }

    fn resize(self, by: &impl GlobalAlloc, size: usize) -> Block {
        // SAFETY: it came from there.
        let p = unsafe { by.realloc(self.p, self.layout, size) };
        assert!(!p.is_null());
        // SAFETY: it has this size, and what it had is still there.
        unsafe {
            let kept = self.layout.size().min(size);
            let bytes = std::slice::from_raw_parts(p, kept);
            assert!(bytes.iter().all(|byte| *byte == self.pattern));
            p.write_bytes(self.pattern, size);
        }
        let layout = layout(size, self.layout.align());
        Block { p, layout, ..self }
    }
}

#[test]
fn it_is_used_when_the_system_fails_and_all_of_it_comes_back() {
    let moody = Moody::default();
    let reserved = Reserved::new(&moody);
    for round in 0..3 {
        moody.fails.set(true);
        let mut blocks = Vec::new();
        for n in 0.. {
            let size = [1, 64, 65, 700, 24][n % 5];
            match Block::get(&reserved, layout(size, 1 << (n % 7)), n as u8) {
                Some(block) => blocks.push(block),
                None => break,
            }
        }
        assert!(blocks.len() > 500, "round {round}: {}", blocks.len());
        assert!(reserved.is_short());
        moody.fails.set(false);
        // Every other first.
        for n in (0..blocks.len()).rev().step_by(2) {
            blocks.swap_remove(n).give_back(&reserved);
        }
        for block in blocks {
            block.give_back(&reserved);
        }
        assert!(!reserved.is_short());
        assert_eq!(moody.given.get(), 0);
    }
}

#[test]
fn blocks_move_between_the_system_and_the_reserve() {
    let moody = Moody::default();
    let reserved = Reserved::new(&moody);
    let mut block = Block::get(&reserved, layout(100, 8), 7).expect("memory");
    for (fails, size, given) in [
        (true, 5000, 0),
        (true, 6000, 0),
        (true, 10, 0),
        (false, 20, 1),
        (false, 4000, 1),
        (true, 300, 0),
        (false, 300, 1),
    ] {
        moody.fails.set(fails);
        block = block.resize(&reserved, size);
        assert_eq!(moody.given.get(), given, "{size}");
    }
    block.give_back(&reserved);
    assert_eq!(moody.given.get(), 0);
}

#[test]
fn zeroed_memory_of_the_reserve_is_zero() {
    let moody = Moody::default();
    let reserved = Reserved::new(&moody);
    moody.fails.set(true);
    let used = Block::get(&reserved, layout(1000, 1), 0xff).expect("memory");
    used.give_back(&reserved);
    // SAFETY: it is given back with this layout.
    unsafe {
        let p = reserved.alloc_zeroed(layout(1000, 1));
        assert!((0..1000).all(|n| *p.add(n) == 0));
        reserved.dealloc(p, layout(1000, 1));
    }
}

#[test]
fn what_it_cannot_hold_fails() {
    let moody = Moody::default();
    let reserved = Reserved::new(&moody);
    moody.fails.set(true);
    for (size, align) in [(1 << 20, 1), (isize::MAX as usize - 4096, 1), (64, 4096)] {
        assert!(
            Block::get(&reserved, layout(size, align), 0).is_none(),
            "{size}"
        );
    }
    assert!(Block::get(&reserved, layout(1 << 16, 1), 0).is_some());
}
