//! Registering variables, and finding which of them the configuration reads.

use core::ptr;

use nginx_sys::{
    ngx_http_add_variable, ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_request_t,
    ngx_http_variable_t, ngx_http_variable_value_t, ngx_int_t, NGX_HTTP_VAR_NOCACHEABLE,
};

use super::bits::{VARIABLE_VALUE_NOT_FOUND, VARIABLE_VALUE_NO_CACHEABLE, VARIABLE_VALUE_VALID};
use super::conf::Conf;
use super::guard::guard;
use super::pool::{bytes, ngx_str, NoMemory};
use super::request::Request;
use super::status::{ERROR, OK};

/// Registers a variable; `number` is given to `evaluate`.
pub fn add(cf: &Conf<'_>, name: &'static str, number: usize) -> Result<(), NoMemory> {
    let mut name = ngx_str(name.as_bytes());
    let flags = NGX_HTTP_VAR_NOCACHEABLE as usize;
    // SAFETY: nginx copies the name.
    unsafe {
        let variable = ngx_http_add_variable(cf.as_ptr(), &mut name, flags).as_mut();
        let variable = variable.ok_or(NoMemory)?;
        variable.get_handler = Some(get);
        variable.data = number;
    }
    Ok(())
}

unsafe extern "C" fn get(
    r: *mut ngx_http_request_t,
    value: *mut ngx_http_variable_value_t,
    number: usize,
) -> ngx_int_t {
    guard(ERROR, || {
        // SAFETY: called by nginx with a valid request and a value to fill.
        let (r, value) = unsafe { (Request::from_ptr(r), &mut *value) };
        let Ok(found) = crate::evaluate(number, r) else {
            return ERROR;
        };
        // SAFETY: a valid value; the bytes live as long as the request.
        unsafe {
            VARIABLE_VALUE_VALID.set(value, found.is_some());
            VARIABLE_VALUE_NO_CACHEABLE.set(value, false);
            VARIABLE_VALUE_NOT_FOUND.set(value, found.is_none());
        }
        let found = found.unwrap_or_default();
        value.set_len(found.len() as u32);
        value.data = found.as_ptr().cast_mut();
        OK
    })
}

/// The indexes of those variables that begin with one of `prefixes` and that something reads.
pub fn indexes(cf: &Conf<'_>, prefixes: &[&[u8]]) -> Vec<usize> {
    // SAFETY: core's main configuration has an array of the indexed variables.
    unsafe {
        let core: Option<&mut ngx_http_core_main_conf_t> =
            cf.main_conf(&*ptr::addr_of!(ngx_http_core_module));
        let Some(core) = core else { return Vec::new() };
        core.variables
            .as_slice::<ngx_http_variable_t>()
            .iter()
            .enumerate()
            .filter(|(_, v)| prefixes.iter().any(|p| bytes(v.name).starts_with(p)))
            .map(|(index, _)| index)
            .collect()
    }
}
