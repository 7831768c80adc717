//! What a call of `authgear_purge` wants removed.

/// Users and sessions whose cache entries go.
#[derive(Debug, PartialEq, Eq)]
pub struct PurgeRequest {
    /// User ids.
    pub users: Vec<String>,
    /// Session ids, as Authgear's events and its `session` cookie have them.
    pub sessions: Vec<String>,
}

/// Why a query can't be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurgeError {
    /// Nothing is named.
    #[error("expected ?user=ID or ?session=ID")]
    Nothing,
    /// A name without an id.
    #[error("\"{0}\" without an id")]
    NoId(String),
    /// A parameter that means nothing here: better refused than overlooked.
    #[error("unknown parameter \"{0}\"")]
    Unknown(String),
    /// More than anyone needs at once.
    #[error("more than {MOST} ids in one call")]
    TooMany,
}

/// Ids in one call.
const MOST: usize = 1000;

impl PurgeRequest {
    /// Reads the query of a request, without its question mark: `user=ID` and `session=ID`, each as
    /// often as needed, percent-encoded as in a form.
    ///
    /// # Errors
    /// When it names nothing, or anything else.
    pub fn parse(query: &[u8]) -> Result<PurgeRequest, PurgeError> {
        let mut request = PurgeRequest {
            users: Vec::new(),
            sessions: Vec::new(),
        };
        for (name, value) in form_urlencoded::parse(query) {
            let ids = match &*name {
                "user" => &mut request.users,
                "session" => &mut request.sessions,
                _ => return Err(PurgeError::Unknown(name.into_owned())),
            };
            if value.is_empty() {
                return Err(PurgeError::NoId(name.into_owned()));
            }
            ids.push(value.into_owned());
            if request.users.len() + request.sessions.len() > MOST {
                return Err(PurgeError::TooMany);
            }
        }
        if request.users.is_empty() && request.sessions.is_empty() {
            return Err(PurgeError::Nothing);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_name_users_and_sessions() {
        let ids = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        type Named = (&'static [&'static str], &'static [&'static str]);
        let table: &[(&str, Result<Named, PurgeError>)] = &[
            ("user=a", Ok((&["a"], &[]))),
            ("session=s", Ok((&[], &["s"]))),
            ("user=a&session=s&user=b%2Fc", Ok((&["a", "b/c"], &["s"]))),
            ("", Err(PurgeError::Nothing)),
            ("&", Err(PurgeError::Nothing)),
            ("user=", Err(PurgeError::NoId("user".into()))),
            ("user", Err(PurgeError::NoId("user".into()))),
            ("user=a&all=1", Err(PurgeError::Unknown("all".into()))),
            ("USER=a", Err(PurgeError::Unknown("USER".into()))),
        ];
        for (query, expected) in table {
            let expected = expected.clone().map(|(users, sessions)| PurgeRequest {
                users: ids(users),
                sessions: ids(sessions),
            });
            assert_eq!(PurgeRequest::parse(query.as_bytes()), expected, "{query}");
        }
        let many = "user=a&".repeat(MOST + 1);
        assert_eq!(
            PurgeRequest::parse(many.as_bytes()),
            Err(PurgeError::TooMany)
        );
    }
}
