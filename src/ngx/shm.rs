//! Shared memory zones: one flat region in each, under the zone's own mutex.
//!
//! nginx unlocks that mutex when a worker dies holding it, which a lock of our own could not have.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::slice;
use std::sync::atomic::AtomicU64;

use nginx_sys::{
    ngx_int_t, ngx_shared_memory_add, ngx_shm_zone_t, ngx_shmtx_lock, ngx_shmtx_unlock,
    ngx_slab_alloc_locked, ngx_slab_pool_t, ngx_str_t,
};

use super::conf::Conf;
use super::guard::guard;
use super::module::module;
use super::pool::{bytes, ngx_str, NoMemory};
use super::status::{ERROR, OK};

/// The part of a zone that is ours, and its mutex. Lives as long as the configuration that asked
/// for it, and as long as any worker that runs with it.
#[derive(Clone, Copy)]
pub struct Region {
    pool: NonNull<ngx_slab_pool_t>,
    words: &'static [AtomicU64],
}

impl Region {
    /// The region's memory.
    pub fn words(&self) -> &'static [AtomicU64] {
        self.words
    }

    /// Runs `body` while no other process does so for this zone. It must not panic: what it does is
    /// guarded, but others would find a half-done change.
    pub fn locked<T>(&self, body: impl FnOnce() -> T) -> T {
        /// Unlocks also when the body panics.
        struct Unlock(NonNull<ngx_slab_pool_t>);
        impl Drop for Unlock {
            fn drop(&mut self) {
                // SAFETY: this process holds the mutex.
                unsafe { ngx_shmtx_unlock(&raw mut (*self.0.as_ptr()).mutex) };
            }
        }
        // SAFETY: the zone's pool is mapped for as long as the process runs with it.
        unsafe { ngx_shmtx_lock(&raw mut (*self.pool.as_ptr()).mutex) };
        let _unlock = Unlock(self.pool);
        body()
    }
}

/// What becomes of a zone's region once nginx has mapped it, at start and on each reload.
pub trait Attach: 'static {
    /// Takes the region; false makes nginx refuse to start, with a log line that was written.
    fn attach(&self, region: Region) -> bool;
}

/// Asks nginx for a zone. `owner` must live as long as the configuration.
pub fn add<A: Attach>(
    cf: &Conf<'_>,
    name: &[u8],
    size: usize,
    owner: NonNull<A>,
) -> Result<(), NoMemory> {
    let mut name: ngx_str_t = ngx_str(cf.pool().copy(name)?);
    let tag = ptr::from_ref(module()).cast_mut().cast::<c_void>();
    // SAFETY: nginx copies the name's struct; its bytes live in the cycle's pool.
    unsafe {
        let zone = ngx_shared_memory_add(cf.as_ptr(), &mut name, size, tag);
        let zone = zone.as_mut().ok_or(NoMemory)?;
        zone.init = Some(init::<A>);
        zone.data = owner.as_ptr().cast();
    }
    Ok(())
}

/// The size of the zone of this name that nginx runs with, before this configuration.
pub fn running_size(cf: &Conf<'_>, name: &[u8]) -> Option<usize> {
    // SAFETY: the old cycle is valid, and its list is empty at nginx's start. Names are as long as
    // they say.
    unsafe {
        let old = (*(*cf.as_ptr()).cycle).old_cycle.as_ref()?;
        let mut part = ptr::from_ref(&old.shared_memory.part);
        while let Some(zones) = part.as_ref() {
            if !zones.elts.is_null() {
                let zones = slice::from_raw_parts(zones.elts.cast::<ngx_shm_zone_t>(), zones.nelts);
                if let Some(zone) = zones.iter().find(|zone| bytes(zone.shm.name) == name) {
                    return Some(zone.shm.size);
                }
            }
            part = zones.next;
        }
        None
    }
}

unsafe extern "C" fn init<A: Attach>(zone: *mut ngx_shm_zone_t, _old: *mut c_void) -> ngx_int_t {
    guard(ERROR, || {
        // SAFETY: nginx calls this with the zone that `add` set up, mapped, in the master process.
        unsafe {
            let owner = &*(*zone).data.cast::<A>();
            let Some(region) = region((*zone).shm.addr.cast()) else {
                return ERROR;
            };
            if owner.attach(region) {
                OK
            } else {
                ERROR
            }
        }
    })
}

/// What stands at the start of our allocation: its length in words.
const LENGTH_WORDS: usize = 8;

/// The zone's region: all free pages of its slab pool, taken when the zone is new.
///
/// # Safety
/// `pool` is the slab pool of a zone that only this module uses.
unsafe fn region(pool: *mut ngx_slab_pool_t) -> Option<Region> {
    // SAFETY: the caller's promise. `data` is null in a new zone; later it points to what the first
    // configuration allocated, which nginx maps at the same address in all processes.
    unsafe {
        let mut start = (*pool).data.cast::<u64>();
        if start.is_null() {
            let mut pages = (*pool).pfree;
            let page = nginx_sys::ngx_pagesize;
            while start.is_null() && pages > 0 {
                start = ngx_slab_alloc_locked(pool, pages * page).cast();
                if start.is_null() {
                    pages -= 1;
                }
            }
            if start.is_null() {
                return None;
            }
            ptr::write_bytes(start.cast::<u8>(), 0, pages * page);
            *start = (pages * page / 8 - LENGTH_WORDS) as u64;
            (*pool).data = start.cast();
        }
        let words = slice::from_raw_parts(start.add(LENGTH_WORDS).cast(), *start as usize);
        Some(Region {
            pool: NonNull::new(pool)?,
            words,
        })
    }
}

/// The size of a page of memory.
pub fn page_size() -> usize {
    // SAFETY: nginx sets it at start.
    unsafe { nginx_sys::ngx_pagesize }
}
