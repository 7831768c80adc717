//! Complex values: text with variables.

use core::mem::zeroed;

use nginx_sys::{
    ngx_http_compile_complex_value, ngx_http_compile_complex_value_t, ngx_http_complex_value,
    ngx_http_complex_value_t, ngx_str_t, NGX_OK,
};

use super::conf::Conf;
use super::pool::{bytes, ngx_str, NoMemory};
use super::request::Request;

/// A directive's parameter that may contain variables.
pub struct Value {
    compiled: ngx_http_complex_value_t,
}

impl Value {
    /// Compiles a parameter; nginx has logged what is wrong with it when there is an error.
    pub fn compile(cf: &Conf<'_>, text: &[u8]) -> Result<Value, NoMemory> {
        // nginx keeps pointers into the text.
        let mut text: ngx_str_t = ngx_str(cf.pool().copy(text)?);
        // SAFETY: both structs are valid when zeroed; nginx fills `compiled` from `text`, which
        // lives in the cycle's pool as the compiled form does.
        unsafe {
            let mut compiled: ngx_http_complex_value_t = zeroed();
            let mut compile: ngx_http_compile_complex_value_t = zeroed();
            compile.cf = cf.as_ptr();
            compile.value = &mut text;
            compile.complex_value = &mut compiled;
            if ngx_http_compile_complex_value(&mut compile) != NGX_OK as isize {
                return Err(NoMemory);
            }
            Ok(Value { compiled })
        }
    }

    /// The text, when it has no variables.
    pub fn constant(&self) -> Option<&[u8]> {
        // SAFETY: the compiled value's text lives in the cycle's pool, longer than self.
        self.compiled
            .lengths
            .is_null()
            .then(|| unsafe { bytes(self.compiled.value) })
    }

    /// The value for this request.
    pub fn evaluate<'r>(&self, r: Request<'r>) -> Result<&'r [u8], NoMemory> {
        let mut out = ngx_str(&[]);
        let compiled = (&raw const self.compiled).cast_mut();
        // SAFETY: nginx reads the compiled value only; what it returns lives in the request's pool
        // or in the cycle's, which both outlive the request.
        unsafe {
            if ngx_http_complex_value(r.as_ptr(), compiled, &mut out) != NGX_OK as isize {
                return Err(NoMemory);
            }
            Ok(bytes(out))
        }
    }
}
