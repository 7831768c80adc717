//! `authgear_webhook` and `authgear_purge`: locations that the module answers itself.

use std::fs;
use std::rc::Rc;

use super::{DirectiveError, LocationConf};
use crate::ngx::conf::{Conf, Handler, Line};

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
    answer_by(conf, cf, crate::webhook)
}

/// Reads `authgear_status`.
pub fn status(conf: &mut LocationConf, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    conf.shows_status = true;
    answer_by(conf, cf, crate::status)
}

/// Reads `authgear_purge`.
pub fn purge(conf: &mut LocationConf, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    answer_by(conf, cf, crate::purge)
}

/// The handler by which the module answers a location, and the directive's line.
pub struct Answers {
    handler: Handler,
    line: Line,
}

const CONFLICT: &str = "conflicts with another directive that answers the location";

fn answer_by(
    conf: &mut LocationConf,
    cf: &Conf<'_>,
    handler: Handler,
) -> Result<(), DirectiveError> {
    if !cf.set_content_handler(Some(handler)) {
        return Err(CONFLICT.into());
    }
    let line = cf.line();
    conf.answers = Some(Answers { handler, line });
    Ok(())
}

impl LocationConf {
    /// Directives that come later, like `proxy_pass`, take the location without asking.
    pub(super) fn check_answers(&self, cf: &Conf<'_>) -> Result<(), DirectiveError> {
        match &self.answers {
            Some(answers) if !cf.is_answered_by(answers.handler) => {
                let what = "the location of \"authgear_webhook\", \"authgear_purge\" or \
                            \"authgear_status\" is answered by another directive";
                cf.at(&answers.line, || cf.emerg(format_args!("{what}")));
                Err(DirectiveError::Logged)
            }
            _ => Ok(()),
        }
    }
}

/// The secret as the portal shows it: editors end the last line, which is no part of it.
fn without_line_end(read: &[u8]) -> &[u8] {
    let read = read.strip_suffix(b"\n").unwrap_or(read);
    read.strip_suffix(b"\r").unwrap_or(read)
}
