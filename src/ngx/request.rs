//! A client's request, or a subrequest of it.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

use nginx_sys::{
    ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_http_request_t, ngx_list_push, ngx_list_t,
    ngx_module_t, ngx_str_t, ngx_table_elt_t,
};

use super::bits::{
    REQUEST_FILTER_FINALIZE, REQUEST_INTERNAL, VARIABLE_VALUE_NOT_FOUND, VARIABLE_VALUE_VALID,
};
use super::log::Log;
use super::pool::{bytes, ngx_str, NoMemory, Pool};

/// A request, valid while the callback that was given it runs.
#[derive(Clone, Copy)]
pub struct Request<'r> {
    ptr: NonNull<ngx_http_request_t>,
    lives: PhantomData<&'r mut ngx_http_request_t>,
}

/// A header, with strings that live as long as its request.
#[derive(Clone, Copy)]
pub struct Header<'r>(&'r ngx_table_elt_t);

impl<'r> Header<'r> {
    /// The name as it was spelt.
    #[inline]
    pub fn name(self) -> &'r [u8] {
        // SAFETY: the strings of a request's headers live as long as it does.
        unsafe { bytes(self.0.key) }
    }

    /// The value, of a request header without surrounding white space.
    #[inline]
    pub fn value(self) -> &'r [u8] {
        // SAFETY: as above.
        unsafe { bytes(self.0.value) }
    }
}

/// A request header that was taken away.
pub struct HeaderIn(ngx_table_elt_t);

/// The identity of one response header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HeaderOut(NonNull<ngx_table_elt_t>);

/// A header name known at compile time, with the hash nginx looks it up by.
pub struct HeaderName {
    spelling: &'static str,
    name: &'static str,
    hash: usize,
}

impl HeaderName {
    /// `name` in lower case, also on the wire.
    pub const fn new(name: &'static str) -> HeaderName {
        HeaderName::spelled(name, name)
    }

    /// `spelling` as it goes on the wire, `name` the same in lower case.
    pub const fn spelled(spelling: &'static str, name: &'static str) -> HeaderName {
        // ngx_hash(): key * 31 + c
        let bytes = name.as_bytes();
        let mut hash = 0usize;
        let mut i = 0;
        while i < bytes.len() {
            assert!(!bytes[i].is_ascii_uppercase());
            hash = hash.wrapping_mul(31).wrapping_add(bytes[i] as usize);
            i += 1;
        }
        assert!(spelling.len() == name.len());
        HeaderName {
            spelling,
            name,
            hash,
        }
    }

    fn element(&self, value: ngx_str_t) -> ngx_table_elt_t {
        // SAFETY: all zero is a valid table element, on every version.
        let mut element: ngx_table_elt_t = unsafe { core::mem::zeroed() };
        element.hash = self.hash;
        element.key = ngx_str(self.spelling.as_bytes());
        element.lowcase_key = self.name.as_ptr().cast_mut();
        element.value = value;
        element
    }
}

impl<'r> Request<'r> {
    /// # Safety
    /// `r` is a valid request for `'r`.
    pub unsafe fn from_ptr(r: *mut ngx_http_request_t) -> Request<'r> {
        // SAFETY: valid, so not null.
        let ptr = unsafe { NonNull::new_unchecked(r) };
        Request {
            ptr,
            lives: PhantomData,
        }
    }

    /// nginx's own pointer.
    pub fn as_ptr(self) -> *mut ngx_http_request_t {
        self.ptr.as_ptr()
    }

    fn get(&self) -> &ngx_http_request_t {
        // SAFETY: valid for 'r; nothing writes while this shared borrow of a plain field lasts.
        unsafe { self.ptr.as_ref() }
    }

    /// The client's request that this one serves.
    pub fn main(self) -> Request<'r> {
        // SAFETY: nginx keeps the main request while any subrequest lives.
        unsafe { Request::from_ptr(self.get().main) }
    }

    /// Whether this is the client's request itself.
    pub fn is_main(self) -> bool {
        ptr::eq(self.get().main, self.as_ptr())
    }

    /// Whether the request was redirected inside nginx, so that module contexts were cleared.
    fn may_have_lost_contexts(self) -> bool {
        // SAFETY: a valid request.
        unsafe { REQUEST_INTERNAL.get(self.as_ptr()) || REQUEST_FILTER_FINALIZE.get(self.as_ptr()) }
    }

    /// The request's memory pool, which subrequests share.
    pub fn pool(self) -> Pool<'r> {
        // SAFETY: the pool lives as long as the request.
        unsafe { Pool::from_ptr(self.get().pool) }
    }

    /// The connection's log, with the request's context.
    pub fn log(self) -> Log {
        // SAFETY: a request has a connection, which has a log.
        unsafe { Log::from_ptr((*self.get().connection).log) }
    }

    /// This module's configuration in the request's location.
    ///
    /// # Safety
    /// `module` is an http module whose location configuration is a `T`.
    pub unsafe fn loc_conf<T>(self, module: &ngx_module_t) -> &'r T {
        // SAFETY: nginx creates one for each location; it lives as long as the cycle, which the
        // request keeps.
        unsafe { &*(*self.get().loc_conf.add(module.ctx_index)).cast::<T>() }
    }

    /// This module's main configuration.
    ///
    /// # Safety
    /// `module` is an http module whose main configuration is a `T`.
    pub unsafe fn main_conf<T>(self, module: &ngx_module_t) -> &'r T {
        // SAFETY: as for `loc_conf`.
        unsafe { &*(*self.get().main_conf.add(module.ctx_index)).cast::<T>() }
    }

    /// Core's configuration of the request's location.
    pub fn core_loc_conf(self) -> &'r ngx_http_core_loc_conf_t {
        // SAFETY: that is its type.
        unsafe { self.loc_conf(&*ptr::addr_of!(ngx_http_core_module)) }
    }

    /// The module's context of this request: the pointer nginx keeps, or the value in the pool
    /// when an internal redirect has cleared the pointer.
    pub fn context<T>(
        self,
        module: &ngx_module_t,
        drop: unsafe extern "C" fn(*mut c_void),
        is_ours: impl Fn(&T) -> bool,
    ) -> Option<NonNull<T>> {
        // SAFETY: `ctx` has a place for each http module.
        let place = unsafe { self.get().ctx.add(module.ctx_index) };
        // SAFETY: as above; the module puts only a T there.
        if let Some(ctx) = NonNull::new(unsafe { *place }.cast::<T>()) {
            return Some(ctx);
        }
        if !self.may_have_lost_contexts() {
            return None;
        }
        let ctx = self.pool().find_stored(drop, is_ours)?;
        // SAFETY: as above.
        unsafe { *place = ctx.as_ptr().cast() };
        Some(ctx)
    }

    /// Remembers the module's context of this request.
    pub fn set_context<T>(self, module: &ngx_module_t, ctx: NonNull<T>) {
        // SAFETY: `ctx` has a place for each http module.
        unsafe { *self.get().ctx.add(module.ctx_index) = ctx.as_ptr().cast() };
    }

    /// The request's method as one of nginx's `NGX_HTTP_...` bits.
    pub fn method(self) -> u32 {
        self.get().method as u32
    }

    /// The client's address as text.
    pub fn remote_addr(self) -> &'r [u8] {
        // SAFETY: the connection and its address text outlive the request.
        unsafe { bytes((*self.get().connection).addr_text) }
    }

    /// Whether the client's connection is TLS.
    pub fn is_https(self) -> bool {
        #[cfg(any(ngx_feature = "ssl", ngx_feature = "compat"))]
        // SAFETY: a request has a connection.
        return unsafe { !(*self.get().connection).ssl.is_null() };
        #[cfg(not(any(ngx_feature = "ssl", ngx_feature = "compat")))]
        false
    }

    /// The request's headers in the order received.
    pub fn headers_in(self) -> HeadersIn<'r> {
        // SAFETY: the list is initialised before any phase runs.
        let list = unsafe { ListIter::new(&raw mut (*self.as_ptr()).headers_in.headers) };
        HeadersIn { list }
    }

    /// The first request header of this name, ASCII case folded.
    pub fn header_in(self, name: &str) -> Option<&'r [u8]> {
        self.headers_in()
            .find(|h| h.name().eq_ignore_ascii_case(name.as_bytes()))
            .map(Header::value)
    }

    /// All request headers of this name joined by commas, as a list field may be.
    pub fn joined_header_in(self, name: &str) -> Result<Option<&'r [u8]>, NoMemory> {
        let mut pieces: Vec<&[u8]> = Vec::new();
        for header in self.headers_in() {
            if header.name().eq_ignore_ascii_case(name.as_bytes()) {
                if !pieces.is_empty() {
                    pieces.push(b", ");
                }
                pieces.push(header.value());
            }
        }
        Ok(match pieces[..] {
            [] => None,
            [one] => Some(one),
            _ => Some(self.pool().concat(&pieces)?),
        })
    }

    /// Takes away the headers whose names `unwanted` picks.
    ///
    /// Elements are never moved, since nginx points into them: the list is built anew from copies
    /// of those that stay.
    pub fn take_headers_in(
        self,
        unwanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<HeaderIn>, NoMemory> {
        let mut taken = Vec::new();
        if !self.headers_in().any(|h| unwanted(h.name())) {
            return Ok(taken);
        }
        // SAFETY: the list is initialised, and the new one has the same element type. `last` is
        // fixed after the move, as it may point into the struct itself.
        unsafe {
            let list = &raw mut (*self.as_ptr()).headers_in.headers;
            let mut kept: ngx_list_t = core::mem::zeroed();
            let size = size_of::<ngx_table_elt_t>();
            if nginx_sys::ngx_list_init(&mut kept, self.get().pool, 20, size) != 0 {
                return Err(NoMemory);
            }
            for element in ListIter::new(list) {
                if unwanted(bytes(element.key)) {
                    taken.push(HeaderIn(*element));
                } else {
                    push(&mut kept, *element)?;
                }
            }
            let one_part = ptr::eq(kept.last, &kept.part);
            *list = kept;
            if one_part {
                (*list).last = &raw mut (*list).part;
            }
        }
        Ok(taken)
    }

    /// Puts headers back that were taken away from this request.
    pub fn restore_headers_in(self, taken: &[HeaderIn]) -> Result<(), NoMemory> {
        for header in taken {
            // SAFETY: the list is initialised; the element's strings live as long as the request.
            unsafe {
                let list = &raw mut (*self.as_ptr()).headers_in.headers;
                push(list, header.0)?;
            }
        }
        Ok(())
    }

    /// Adds a request header, whose value must live as long as the request.
    pub fn push_header_in(self, name: &HeaderName, value: &'r [u8]) -> Result<(), NoMemory> {
        debug_assert!(self.is_main());
        // SAFETY: the list is initialised, and in the main request its `last` is its own.
        unsafe {
            let list = &raw mut (*self.as_ptr()).headers_in.headers;
            push(list, name.element(ngx_str(value))).map(|_| ())
        }
    }

    /// Adds a response header, with the value copied.
    pub fn push_header_out(self, name: &HeaderName, value: &[u8]) -> Result<HeaderOut, NoMemory> {
        self.push_header_out_element(name, value).map(HeaderOut)
    }

    /// The response headers so far, in order, each with its identity.
    pub fn headers_out(self) -> impl Iterator<Item = (HeaderOut, Header<'r>)> {
        // SAFETY: the list is initialised before any phase runs. Removed headers have hash 0.
        unsafe {
            ListIter::new(&raw mut (*self.as_ptr()).headers_out.headers)
                .filter(|element| element.hash != 0)
                .map(|element| (HeaderOut(NonNull::from(element)), Header(element)))
        }
    }

    /// As `push_header_out`; returns nginx's element.
    pub(super) fn push_header_out_element(
        self,
        name: &HeaderName,
        value: &[u8],
    ) -> Result<NonNull<ngx_table_elt_t>, NoMemory> {
        let value = self.pool().copy(value)?;
        // SAFETY: the list is initialised before any phase runs.
        unsafe {
            let list = &raw mut (*self.as_ptr()).headers_out.headers;
            push(list, name.element(ngx_str(value)))
        }
    }

    /// The host as the client named it: the Host header or, over HTTP/3, the `:authority`.
    pub fn host(self) -> Option<&'r [u8]> {
        let r = self.get();
        // SAFETY: null or an element of the request's headers; the two pointers are null or mark a
        // part of the request's buffers.
        unsafe {
            if let Some(header) = r.headers_in.host.as_ref() {
                return Some(bytes(header.value));
            }
            if r.host_start.is_null() || r.host_end < r.host_start {
                return None;
            }
            let len = r.host_end.offset_from(r.host_start) as usize;
            Some(core::slice::from_raw_parts(r.host_start, len))
        }
    }

    /// The request's query, without the question mark.
    pub fn args(self) -> &'r [u8] {
        // SAFETY: lives in the request's buffers.
        unsafe { bytes(self.get().args) }
    }

    /// The length of the body that the client has announced.
    pub fn content_length(self) -> Option<u64> {
        u64::try_from(self.get().headers_in.content_length_n).ok()
    }

    /// The request's URI as received, with its query.
    pub fn unparsed_uri(self) -> &'r [u8] {
        // SAFETY: lives in the request's buffers.
        unsafe { bytes(self.get().unparsed_uri) }
    }

    /// Forgets what nginx has cached of these indexed variables.
    pub fn forget_variables(self, indexes: &[usize]) {
        for index in indexes {
            // SAFETY: the indexes were given by nginx, which allocated a value for each.
            unsafe {
                let value = self.get().variables.add(*index);
                VARIABLE_VALUE_VALID.set(value, false);
                VARIABLE_VALUE_NOT_FOUND.set(value, false);
            }
        }
    }
}

/// Pushes an element to a list.
///
/// # Safety
/// The list is initialised and holds table elements.
unsafe fn push(
    list: *mut ngx_list_t,
    element: ngx_table_elt_t,
) -> Result<NonNull<ngx_table_elt_t>, NoMemory> {
    // SAFETY: the caller's promise; the last part has room for `nalloc` elements.
    unsafe {
        let last = (*list).last;
        // As ngx_list_push() does.
        let place = if (*last).nelts < (*list).nalloc {
            let place = (*last).elts.cast::<ngx_table_elt_t>().add((*last).nelts);
            (*last).nelts += 1;
            place
        } else {
            ngx_list_push(list).cast()
        };
        let place = NonNull::new(place).ok_or(NoMemory)?;
        place.write(element);
        Ok(place)
    }
}

/// The headers of a request, in order.
pub struct HeadersIn<'r> {
    list: ListIter<'r>,
}

impl<'r> Iterator for HeadersIn<'r> {
    type Item = Header<'r>;

    #[inline]
    fn next(&mut self) -> Option<Header<'r>> {
        self.list.next().map(Header)
    }
}

/// The elements of a list of headers.
struct ListIter<'r> {
    at: *const ngx_table_elt_t,
    end: *const ngx_table_elt_t,
    next: *const nginx_sys::ngx_list_part_t,
    lives: PhantomData<&'r ngx_table_elt_t>,
}

impl<'r> ListIter<'r> {
    /// # Safety
    /// The list is initialised, holds table elements, lives for `'r` and does not grow meanwhile.
    unsafe fn new(list: *const ngx_list_t) -> ListIter<'r> {
        ListIter {
            at: ptr::null(),
            end: ptr::null(),
            // SAFETY: the caller's promise.
            next: unsafe { &raw const (*list).part },
            lives: PhantomData,
        }
    }
}

impl<'r> Iterator for ListIter<'r> {
    type Item = &'r ngx_table_elt_t;

    #[inline]
    fn next(&mut self) -> Option<&'r ngx_table_elt_t> {
        // SAFETY: parts are linked until null, each with `nelts` elements.
        unsafe {
            while self.at == self.end {
                let part = self.next.as_ref()?;
                self.at = part.elts.cast();
                self.end = self.at.add(part.nelts);
                self.next = part.next;
            }
            let element = self.at;
            self.at = element.add(1);
            element.as_ref()
        }
    }
}
