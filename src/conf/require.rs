//! `authgear_require` and `authgear_login`: who may pass, and where others are sent.

use std::rc::Rc;

use authgear_session::require::Requirements;
use nginx_sys::NGX_HTTP_LOC_CONF;

use super::{DirectiveError, LocationConf, Resolve};
use crate::ngx::conf::{Conf, Line};
use crate::ngx::value::Value;

/// `authgear_require` of one level.
#[derive(Clone)]
pub struct Require {
    /// What must hold; nothing after `off`.
    pub requirements: Rc<Requirements>,
    /// File and line, where it stands in a location, which must then resolve.
    in_location: Option<Line>,
}

/// Reads `authgear_require`, of which a level may have several.
pub fn require(conf: &mut LocationConf, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    let conditions = &cf.args()[1..];
    let off = conditions.contains(&b"off".as_slice());
    if let Some(before) = &conf.require {
        if off || before.requirements.is_none() {
            return Err(DirectiveError::Other(
                "has \"off\" beside other conditions".into(),
            ));
        }
    }
    let mut requirements = match &conf.require {
        Some(before) => Requirements::clone(&before.requirements),
        None => Requirements::default(),
    };
    if off && conditions.len() > 1 {
        return Err(DirectiveError::Other(
            "has \"off\" beside other conditions".into(),
        ));
    }
    if !off {
        for condition in conditions {
            requirements
                .add(condition)
                .map_err(|e| DirectiveError::Other(format!("is wrong: {e}")))?;
        }
    }
    conf.require = Some(Require {
        requirements: Rc::new(requirements),
        in_location: cf.is_level(NGX_HTTP_LOC_CONF).then(|| cf.line()),
    });
    Ok(())
}

/// Reads `authgear_login`.
pub fn login(conf: &mut LocationConf, cf: &Conf<'_>) -> Result<(), DirectiveError> {
    if conf.login.is_some() {
        return Err(DirectiveError::Duplicate);
    }
    conf.login = Some(match cf.arg() {
        b"" => return Err(DirectiveError::invalid(b"", "a URL or \"off\"")),
        b"off" => None,
        url => Some(Rc::new(Value::compile(cf, url)?)),
    });
    Ok(())
}

impl LocationConf {
    /// A requirement written in a location that resolves nothing would let nobody in: surely a
    /// mistake. Call before the level above is merged in.
    pub(super) fn check_require(
        &self,
        cf: &Conf<'_>,
        parent: &LocationConf,
    ) -> Result<(), DirectiveError> {
        let resolve = self.resolve.as_ref().or(parent.resolve.as_ref());
        if matches!(resolve, Some(Resolve::At(_))) {
            return Ok(());
        }
        let require = self.require.as_ref().filter(|r| !r.requirements.is_none());
        match require.and_then(|r| r.in_location.as_ref()) {
            Some(line) => {
                let what = "\"authgear_require\" in a location without \"authgear_resolve\"";
                cf.at(line, || cf.emerg(format_args!("{what}")));
                Err(DirectiveError::Logged)
            }
            None => Ok(()),
        }
    }

    /// What must hold for a request to pass here. Nothing where `authgear_resolve off` says that
    /// the module stays out of it; but a requirement in force where nobody resolves still holds.
    pub fn requirements(&self) -> Option<&Requirements> {
        if matches!(self.resolve, Some(Resolve::Off)) {
            return None;
        }
        self.require
            .as_ref()
            .map(|r| &*r.requirements)
            .filter(|r| !r.is_none())
    }

    /// `authgear_login`
    pub fn login(&self) -> Option<&Value> {
        self.login.as_ref()?.as_deref()
    }
}
