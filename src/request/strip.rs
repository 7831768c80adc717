//! Identity headers that the client has sent are forged: they go before any other phase can see
//! them (nginx caches `$http_...` variables).

use authgear_session::identity::is_identity_header;

use crate::conf::LocationConf;
use crate::ngx::pool::NoMemory;
use crate::ngx::request::Request;

/// Removes forged identity headers, unless the location trusts whoever sends them.
pub fn strip(r: Request<'_>) -> Result<(), NoMemory> {
    if LocationConf::of(r).trust_identity() {
        return Ok(());
    }
    let removed = r.remove_headers_in(is_identity_header)?;
    if removed > 0 {
        r.log().warn(format_args!(
            "authgear: removed {removed} forged identity header(s)"
        ));
    }
    Ok(())
}
