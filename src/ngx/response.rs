//! Answering a request ourselves.

use nginx_sys::{
    ngx_http_complex_value_t, ngx_http_err_page_t, ngx_http_finalize_request,
    ngx_http_send_response, ngx_int_t,
};

use super::bits::{REQUEST_ERROR_PAGE, REQUEST_EXPECT_TESTED};
use super::pool::{ngx_str, NoMemory};
use super::request::{HeaderName, Request};
use super::status::DONE;

static LOCATION: HeaderName = HeaderName::spelled("Location", "location");
static WWW_AUTHENTICATE: HeaderName = HeaderName::spelled("WWW-Authenticate", "www-authenticate");

impl<'r> Request<'r> {
    /// Whether an `error_page` of the location would take over an answer with this status.
    pub fn has_error_page(self, status: u16) -> bool {
        // SAFETY: core's location configuration has an array of error pages, or none; the request
        // is valid.
        unsafe {
            if REQUEST_ERROR_PAGE.get(self.as_ptr()) {
                return false;
            }
            self.core_loc_conf()
                .error_pages
                .as_ref()
                .is_some_and(|pages| {
                    pages
                        .as_slice::<ngx_http_err_page_t>()
                        .iter()
                        .any(|page| page.status == status as ngx_int_t)
                })
        }
    }

    /// Sends a whole response from a phase before the content phase, and ends the request. The
    /// handler must return at once with the code given, touching the request no more.
    ///
    /// As nginx's own pages, it is sent without asking for the body of an `Expect: 100-continue`.
    pub fn respond(
        self,
        status: u16,
        content_type: &'r str,
        body: &[u8],
    ) -> Result<ngx_int_t, NoMemory> {
        // SAFETY: a valid request.
        unsafe { REQUEST_EXPECT_TESTED.set(self.as_ptr(), true) };
        let rc = self.send(status, content_type, body)?;
        self.finalize(rc);
        Ok(DONE)
    }

    /// Ends the request with nginx's code. It may be gone afterwards.
    pub fn finalize(self, rc: ngx_int_t) {
        // SAFETY: a valid request, whose handler touches it no more.
        unsafe { ngx_http_finalize_request(self.as_ptr(), rc) };
    }

    /// Sends a whole response from a content handler, which returns the code given.
    pub fn send(
        self,
        status: u16,
        content_type: &'r str,
        body: &[u8],
    ) -> Result<ngx_int_t, NoMemory> {
        let value = self.pool().zeroed::<ngx_http_complex_value_t>()?;
        value.value = ngx_str(self.pool().copy(body)?);
        let mut content_type = ngx_str(content_type.as_bytes());
        // SAFETY: a valid request and a constant value, both living long enough.
        Ok(unsafe {
            ngx_http_send_response(self.as_ptr(), usize::from(status), &mut content_type, value)
        })
    }

    /// Sets the Location of a redirect whose status the handler returns.
    pub fn set_location(self, url: &[u8]) -> Result<(), NoMemory> {
        let element = self.push_header_out_element(&LOCATION, url)?;
        // SAFETY: the element lives in the request's list.
        unsafe { (*self.as_ptr()).headers_out.location = element.as_ptr() };
        Ok(())
    }

    /// The status that the access phase ends with when we refuse with this one: with `satisfy any`,
    /// the 401 of another module stands.
    pub fn refused_with(self, status: u16) -> u16 {
        // SAFETY: a plain field of a valid request.
        let before = unsafe { (*self.as_ptr()).access_code };
        match status {
            403 if before == 401 => 401,
            _ => status,
        }
    }

    /// Adds a challenge to a 401.
    pub fn push_challenge(self, challenge: &str) -> Result<(), NoMemory> {
        let element = self.push_header_out_element(&WWW_AUTHENTICATE, challenge.as_bytes())?;
        // SAFETY: as above. nginx takes it back when another module satisfies the request.
        unsafe { (*self.as_ptr()).headers_out.www_authenticate = element.as_ptr() };
        Ok(())
    }
}
