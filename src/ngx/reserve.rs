//! Memory for the requests in hand while the system has none to give.
//!
//! Rust ends the process when an allocation fails, and with it each request of the worker. nginx
//! refuses the request and goes on. So that the module does, too, a small reserve stands behind the
//! system's allocator: what is under way is finished with it, and what comes is refused before it
//! is used up. Only if that is not enough the process ends.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const BLOCK: usize = 64;
const BLOCKS: usize = 2048;

/// An allocator with the reserve behind it, which costs no memory until it is used.
pub struct Reserved<A> {
    allocator: A,
    memory: Memory,
    used: [AtomicBool; BLOCKS],
    used_blocks: AtomicUsize,
    busy: AtomicBool,
}

#[repr(align(64))]
struct Memory(UnsafeCell<[u8; BLOCK * BLOCKS]>);

// SAFETY: a block belongs to whoever has marked it as used, while `busy` was his.
unsafe impl Sync for Memory {}

impl<A> Reserved<A> {
    pub const fn new(allocator: A) -> Reserved<A> {
        Reserved {
            allocator,
            memory: Memory(UnsafeCell::new([0; BLOCK * BLOCKS])),
            used: [const { AtomicBool::new(false) }; BLOCKS],
            used_blocks: AtomicUsize::new(0),
            busy: AtomicBool::new(false),
        }
    }

    /// Whether so much of the reserve is used that no further request is to begin.
    pub fn is_short(&self) -> bool {
        self.used_blocks.load(Ordering::Relaxed) > BLOCKS / 4
    }

    /// Runs `body` alone. nginx's workers have one thread that comes here, but nothing enforces it.
    fn alone<T>(&self, body: impl FnOnce() -> T) -> T {
        while self.busy.swap(true, Ordering::Acquire) {
            core::hint::spin_loop();
        }
        let result = body();
        self.busy.store(false, Ordering::Release);
        result
    }

    fn start(&self) -> *mut u8 {
        self.memory.0.get().cast()
    }

    /// The block at which memory of the reserve begins.
    fn block_of(&self, p: *mut u8) -> Option<usize> {
        let at = p.addr().wrapping_sub(self.start().addr());
        (at < BLOCK * BLOCKS).then_some(at / BLOCK)
    }

    fn mark(&self, first: usize, count: usize, used: bool) {
        for block in &self.used[first..first + count] {
            block.store(used, Ordering::Relaxed);
        }
    }

    /// Memory of the reserve; null when it has none that fits.
    #[cold]
    fn take(&self, layout: Layout) -> *mut u8 {
        let count = blocks(layout);
        if layout.align() > BLOCK || count > BLOCKS {
            return ptr::null_mut();
        }
        self.alone(|| {
            let mut free = 0;
            for at in 0..BLOCKS {
                free = match self.used[at].load(Ordering::Relaxed) {
                    true => 0,
                    false => free + 1,
                };
                if free == count {
                    let first = at + 1 - count;
                    self.mark(first, count, true);
                    self.used_blocks.fetch_add(count, Ordering::Relaxed);
                    return self.start().wrapping_add(first * BLOCK);
                }
            }
            ptr::null_mut()
        })
    }

    #[cold]
    fn give_back(&self, first: usize, layout: Layout) {
        let count = blocks(layout);
        self.alone(|| self.mark(first, count, false));
        self.used_blocks.fetch_sub(count, Ordering::Relaxed);
    }
}

fn blocks(layout: Layout) -> usize {
    layout.size().div_ceil(BLOCK).max(1)
}

// SAFETY: what the allocator gives, it takes back, and the reserve its own, told apart by the address.
// Blocks of the reserve are handed out once at a time, aligned and of the size asked for.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Reserved<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let p = unsafe { self.allocator.alloc(layout) };
        if p.is_null() {
            return self.take(layout);
        }
        p
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let p = unsafe { self.allocator.alloc_zeroed(layout) };
        if !p.is_null() {
            return p;
        }
        let p = self.take(layout);
        if !p.is_null() {
            // SAFETY: it has this size.
            unsafe { p.write_bytes(0, layout.size()) };
        }
        p
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        match self.block_of(p) {
            // SAFETY: the caller's promise; it is not the reserve's.
            None => unsafe { self.allocator.dealloc(p, layout) },
            Some(first) => self.give_back(first, layout),
        }
    }

    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise: `size` is no more than isize::MAX when rounded up.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let to = match self.block_of(p) {
            None => {
                // SAFETY: the caller's promise; it is not the reserve's.
                let to = unsafe { self.allocator.realloc(p, layout, size) };
                if !to.is_null() {
                    return to;
                }
                self.take(new)
            }
            // SAFETY: the caller's promise.
            Some(_) => unsafe { self.alloc(new) },
        };
        if !to.is_null() {
            // SAFETY: both have this size, and the old is given back once.
            unsafe {
                to.copy_from_nonoverlapping(p, layout.size().min(size));
                self.dealloc(p, layout);
            }
        }
        to
    }
}
