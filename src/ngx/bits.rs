//! Bit-fields of nginx's structs, at the places where nginx's own C compiler puts them.
//!
//! `build.rs` finds the places with a C program; see there why bindgen's accessors are not used.

use core::marker::PhantomData;

/// One bit-field of the C struct `T`.
pub struct Bit<T> {
    offset: usize,
    mask: u8,
    of: PhantomData<T>,
}

impl<T> Bit<T> {
    const fn new(offset: usize, mask: u8) -> Bit<T> {
        assert!(mask != 0 && offset < core::mem::size_of::<T>());
        Bit {
            offset,
            mask,
            of: PhantomData,
        }
    }

    /// The bit's value.
    ///
    /// # Safety
    /// `of` points to a valid `T`.
    pub unsafe fn get(&self, of: *const T) -> bool {
        // SAFETY: `new` checked that the offset lies inside T, and the caller gives a valid T.
        unsafe { *of.cast::<u8>().add(self.offset) & self.mask != 0 }
    }

    /// Sets or clears the bit (of a wider field: its lowest value, 1).
    ///
    /// # Safety
    /// `of` points to a valid `T` that nothing else borrows.
    pub unsafe fn set(&self, of: *mut T, value: bool) {
        // SAFETY: as in `get`.
        let byte = unsafe { &mut *of.cast::<u8>().add(self.offset) };
        if value {
            *byte |= self.mask;
        } else {
            *byte &= !self.mask;
        }
    }
}

include!(concat!(env!("OUT_DIR"), "/layout.rs"));
