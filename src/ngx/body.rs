//! Reading a request's body, wherever nginx has put it.

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;

use nginx_sys::{ngx_buf_t, ngx_http_read_client_request_body, ngx_http_request_t, ngx_int_t};

use super::bits::BUF_IN_FILE;
use super::request::Request;
use super::status::DONE;

/// nginx's callback for a body that was read.
pub type WhenRead = unsafe extern "C" fn(*mut ngx_http_request_t);

/// Why there is no body.
#[derive(Clone, Copy, Debug)]
pub enum BodyError {
    /// It is larger than allowed.
    TooLarge,
    /// The temporary file can't be read.
    Unreadable,
    /// There is no memory for it.
    NoMemory,
}

impl Request<'_> {
    /// Reads the body from the client and then calls back. The content handler must return the
    /// code given at once.
    pub fn read_body(self, when_read: WhenRead) -> ngx_int_t {
        // SAFETY: a valid request, in its content handler.
        let rc = unsafe { ngx_http_read_client_request_body(self.as_ptr(), Some(when_read)) };
        if rc >= 300 {
            rc
        } else {
            DONE
        }
    }

    /// The body that was read, of no more than `most` bytes.
    pub fn body(self, most: usize) -> Result<Vec<u8>, BodyError> {
        let mut body = Vec::new();
        // SAFETY: nginx has read the body: the chain and its buffers are valid.
        unsafe {
            let Some(read) = (*self.as_ptr()).request_body.as_ref() else {
                return Ok(body);
            };
            let mut link = read.bufs.as_ref();
            while let Some(l) = link {
                append(&mut body, &*l.buf, most)?;
                link = l.next.as_ref();
            }
        }
        Ok(body)
    }
}

/// # Safety
/// The buffer is valid, as one of a request's body.
unsafe fn append(body: &mut Vec<u8>, buf: &ngx_buf_t, most: usize) -> Result<(), BodyError> {
    // SAFETY: in memory, `pos..last` is filled; in a file, `file_pos..file_last` of an open one.
    unsafe {
        if BUF_IN_FILE.get(buf) {
            let len = usize::try_from(buf.file_last - buf.file_pos).unwrap_or(usize::MAX);
            if len > most - body.len() {
                return Err(BodyError::TooLarge);
            }
            // nginx closes the file.
            let file = ManuallyDrop::new(File::from_raw_fd((*buf.file).fd));
            let start = body.len();
            reserve(body, len)?;
            body.resize(start + len, 0);
            let at = buf.file_pos as u64;
            return file
                .read_exact_at(&mut body[start..], at)
                .map_err(|_| BodyError::Unreadable);
        }
        let len = buf.last.offset_from(buf.pos).max(0) as usize;
        if len > most - body.len() {
            return Err(BodyError::TooLarge);
        }
        if len > 0 {
            reserve(body, len)?;
            body.extend_from_slice(core::slice::from_raw_parts(buf.pos, len));
        }
    }
    Ok(())
}

/// Makes room, for which the module's reserve would not do.
fn reserve(body: &mut Vec<u8>, len: usize) -> Result<(), BodyError> {
    body.try_reserve_exact(len).map_err(|_| BodyError::NoMemory)
}
