//! What can be wrong with a directive.

use core::fmt;

use crate::ngx::conf::Conf;
use crate::ngx::pool::NoMemory;

/// An error in a directive, logged with the directive's name, the file and the line.
#[derive(Debug)]
pub enum DirectiveError {
    /// The directive stands twice at one level.
    Duplicate,
    /// A parameter that is none of those accepted.
    Invalid {
        /// The parameter as written.
        value: String,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// Anything else, in words that follow the directive's name.
    Other(String),
    /// nginx has logged the cause already.
    Logged,
}

impl DirectiveError {
    /// `value` is not what was `expected`.
    pub fn invalid(value: &[u8], expected: &'static str) -> DirectiveError {
        DirectiveError::Invalid {
            value: String::from_utf8_lossy(value).into_owned(),
            expected,
        }
    }
}

impl From<NoMemory> for DirectiveError {
    /// nginx logs failures of its own functions.
    fn from(_: NoMemory) -> DirectiveError {
        DirectiveError::Logged
    }
}

impl From<String> for DirectiveError {
    fn from(what: String) -> DirectiveError {
        DirectiveError::Other(what)
    }
}

impl From<&str> for DirectiveError {
    fn from(what: &str) -> DirectiveError {
        DirectiveError::Other(what.into())
    }
}

impl DirectiveError {
    /// Logs the message with the file and line being read; what remains needs no more words.
    pub fn log(&self, cf: &Conf<'_>, directive: &str) -> DirectiveError {
        if let Some(message) = self.message(directive) {
            cf.emerg(format_args!("{message}"));
        }
        DirectiveError::Logged
    }

    /// The whole message for a directive of this name; none if nginx has said it.
    pub fn message(&self, directive: &str) -> Option<impl fmt::Display> {
        Some(match self {
            DirectiveError::Duplicate => format!("\"{directive}\" directive is duplicate"),
            DirectiveError::Invalid { value, expected } => {
                format!(
                    "invalid value \"{value}\" in \"{directive}\" directive, expected {expected}"
                )
            }
            DirectiveError::Other(what) => format!("\"{directive}\" directive {what}"),
            DirectiveError::Logged => return None,
        })
    }
}
