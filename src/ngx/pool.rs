//! nginx's memory pools.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::mem::{align_of, size_of};
use core::ptr::{self, NonNull};
use core::slice;

use nginx_sys::{
    ngx_palloc, ngx_pcalloc, ngx_pnalloc, ngx_pool_cleanup_add, ngx_pool_t, ngx_str_t,
};

/// A pool could not give the memory asked for.
#[derive(Clone, Copy, Debug)]
pub struct NoMemory;

/// A memory pool that lives for `'p`: a request's, a configuration cycle's.
#[derive(Clone, Copy)]
pub struct Pool<'p> {
    ptr: NonNull<ngx_pool_t>,
    lives: PhantomData<&'p ngx_pool_t>,
}

impl<'p> Pool<'p> {
    /// # Safety
    /// `pool` is valid for `'p`.
    pub unsafe fn from_ptr(pool: *mut ngx_pool_t) -> Pool<'p> {
        // SAFETY: valid, so not null.
        let ptr = unsafe { NonNull::new_unchecked(pool) };
        Pool {
            ptr,
            lives: PhantomData,
        }
    }

    /// nginx's own pointer.
    pub fn as_ptr(self) -> *mut ngx_pool_t {
        self.ptr.as_ptr()
    }

    /// A zeroed C struct. For types that are valid when all zero, which nginx's are.
    pub fn zeroed<T: Copy>(self) -> Result<&'p mut T, NoMemory> {
        // SAFETY: the pool is valid; the block is zeroed, aligned for any nginx type, ours alone,
        // and lives as long as the pool.
        unsafe {
            ngx_pcalloc(self.as_ptr(), size_of::<T>())
                .cast::<T>()
                .as_mut()
        }
        .ok_or(NoMemory)
    }

    /// Zeroed bytes.
    pub fn bytes(self, len: usize) -> Result<&'p mut [u8], NoMemory> {
        if len == 0 {
            return Ok(&mut []);
        }
        // SAFETY: the pool is valid.
        let p = unsafe { ngx_pnalloc(self.as_ptr(), len) }.cast::<u8>();
        if p.is_null() {
            return Err(NoMemory);
        }
        // SAFETY: `len` bytes at p are ours for the pool's life; they are set before being read.
        unsafe {
            ptr::write_bytes(p, 0, len);
            Ok(slice::from_raw_parts_mut(p, len))
        }
    }

    /// A copy of `bytes` in the pool.
    pub fn copy(self, bytes: &[u8]) -> Result<&'p [u8], NoMemory> {
        self.concat(&[bytes])
    }

    /// The pieces joined, in the pool.
    pub fn concat(self, pieces: &[&[u8]]) -> Result<&'p [u8], NoMemory> {
        let len = pieces.iter().map(|piece| piece.len()).sum();
        if len == 0 {
            return Ok(&[]);
        }
        // SAFETY: the pool is valid.
        let start = unsafe { ngx_pnalloc(self.as_ptr(), len) }.cast::<u8>();
        if start.is_null() {
            return Err(NoMemory);
        }
        // SAFETY: `len` bytes at `start` are ours for the pool's life; the pieces fill them all.
        unsafe {
            let mut to = start;
            for piece in pieces {
                to.copy_from_nonoverlapping(piece.as_ptr(), piece.len());
                to = to.add(piece.len());
            }
            Ok(slice::from_raw_parts(start, len))
        }
    }

    /// Moves `value` into the pool, which drops it when it is destroyed.
    pub fn store<T>(self, value: T) -> Result<&'p mut T, NoMemory> {
        self.store_with(value, drop_in_pool::<T>)
    }

    /// As `store`, with a clean-up function by which the value can be found again.
    pub fn store_with<T>(
        self,
        value: T,
        drop: unsafe extern "C" fn(*mut c_void),
    ) -> Result<&'p mut T, NoMemory> {
        assert!(align_of::<T>() <= nginx_sys::NGX_ALIGNMENT);
        // SAFETY: the pool is valid. The clean-up is filled only after the value is in place, so it
        // never sees an unwritten one, and nothing else drops the value.
        unsafe {
            let cleanup = ngx_pool_cleanup_add(self.as_ptr(), 0)
                .as_mut()
                .ok_or(NoMemory)?;
            let place = ngx_palloc(self.as_ptr(), size_of::<T>().max(1)).cast::<T>();
            if place.is_null() {
                return Err(NoMemory);
            }
            place.write(value);
            cleanup.data = place.cast();
            cleanup.handler = Some(drop);
            Ok(&mut *place)
        }
    }

    /// The value stored with exactly this clean-up function, if `is_ours` knows it.
    pub fn find_stored<T>(
        self,
        drop: unsafe extern "C" fn(*mut c_void),
        is_ours: impl Fn(&T) -> bool,
    ) -> Option<NonNull<T>> {
        // SAFETY: the pool and its list of clean-ups are valid; `drop` is used by `store_with` for
        // values of type T only, and `is_ours` tells a merged function of another type apart.
        unsafe {
            let mut next = (*self.as_ptr()).cleanup.as_ref();
            while let Some(cleanup) = next {
                if cleanup.handler.is_some_and(|h| h as usize == drop as usize) {
                    if let Some(value) = NonNull::new(cleanup.data.cast::<T>()) {
                        if is_ours(value.as_ref()) {
                            return Some(value);
                        }
                    }
                }
                next = cleanup.next.as_ref();
            }
        }
        None
    }
}

/// Drops a value stored in a pool.
///
/// # Safety
/// `value` points to a live `T` that nothing uses afterwards.
pub unsafe extern "C" fn drop_in_pool<T>(value: *mut c_void) {
    // SAFETY: the caller is the pool being destroyed, once.
    super::guard::guard((), || unsafe { value.cast::<T>().drop_in_place() })
}

/// nginx's string as bytes.
///
/// # Safety
/// `s` is valid for `'a`: its data is null, or points to `len` bytes that do not change.
pub unsafe fn bytes<'a>(s: ngx_str_t) -> &'a [u8] {
    if s.data.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(s.data, s.len) }
}

/// Bytes as nginx's string; nginx does not write through it.
pub fn ngx_str(bytes: &[u8]) -> ngx_str_t {
    ngx_str_t {
        len: bytes.len(),
        data: bytes.as_ptr().cast_mut(),
    }
}
