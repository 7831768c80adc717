//! `authgear_webhook` and `authgear_purge`: locations that the module answers itself.

use std::fs;
use std::rc::Rc;

use super::{DirectiveError, LocationConf};
use crate::ngx::conf::{Conf, Handler};

/// Reads `authgear_webhook SECRET_FILE`.
pub fn webhook(conf: &mut LocationConf, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    if conf.webhook_secret.is_some() {
        return Err(DirectiveError::Duplicate);
    }
    let path = cf.full_name(cf.arg())?;
    let read = fs::read(&path)
        .map_err(|e| DirectiveError::Other(format!("can't read \"{}\": {e}", path.display())))?;
    let secret = without_line_end(&read);
    if secret.is_empty() {
        let path = path.display();
        return Err(DirectiveError::Other(format!(
            "has an empty secret in \"{path}\""
        )));
    }
    conf.webhook_secret = Some(Rc::new(secret.to_vec()));
    answer_by(cf, crate::webhook)
}

/// Reads `authgear_status`.
pub fn status(conf: &mut LocationConf, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    conf.shows_status = true;
    answer_by(cf, crate::status)
}

/// Reads `authgear_purge`.
pub fn purge(_: &mut LocationConf, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    answer_by(cf, crate::purge)
}

fn answer_by(cf: &Conf<'_>, handler: Handler) -> Result<(), DirectiveError> {
    if cf.set_content_handler(Some(handler)) {
        return Ok(());
    }
    let conflict = "conflicts with another directive that answers the location";
    Err(DirectiveError::Other(conflict.into()))
}

/// The secret as the portal shows it: editors end the last line, which is no part of it.
fn without_line_end(read: &[u8]) -> &[u8] {
    let read = read.strip_suffix(b"\n").unwrap_or(read);
    read.strip_suffix(b"\r").unwrap_or(read)
}
