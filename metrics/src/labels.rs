//! The label values by which things are counted.

/// An enum whose values are the values of one label.
pub(crate) trait Label: Copy + 'static {
    /// In the order in which they lie in memory and are told.
    const ALL: &'static [Self];

    fn as_str(self) -> &'static str;

    fn index(self) -> usize;
}

macro_rules! label {
    (
        $(#[$about:meta])*
        $visibility:vis enum $name:ident {
            $( $(#[$about_value:meta])* $value:ident = $text:literal, )+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $visibility enum $name {
            $( $(#[$about_value])* $value, )+
        }

        impl Label for $name {
            const ALL: &'static [Self] = &[$( $name::$value, )+];

            fn as_str(self) -> &'static str {
                match self {
                    $( $name::$value => $text, )+
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// What was learnt of a client's request, as `$authgear_outcome` has it.
    pub enum RequestOutcome {
        /// It has a valid session.
        Valid = "valid",
        /// Its credentials are not valid.
        Invalid = "invalid",
        /// It has no session.
        None = "none",
        /// Its session could not be checked.
        Error = "error",
    }
}

label! {
    /// What the cache did for a request, as `$authgear_cache_status` has it.
    pub enum CacheStatus {
        /// The answer was there.
        Hit = "hit",
        /// It was not.
        Miss = "miss",
        /// It was too old.
        Expired = "expired",
        /// It was too old, but the resolver failed.
        Stale = "stale",
        /// It was used, and refreshed in the background.
        Refresh = "refresh",
        /// It was not looked for.
        Bypass = "bypass",
        /// Another request's answer was waited for.
        Wait = "wait",
        /// There were no credentials to ask about.
        None = "none",
    }
}

label! {
    /// The requirement that a refused request did not meet, as `$authgear_deny_reason` has it.
    pub enum DenialReason {
        /// A valid session.
        Session = "session",
        /// A user who is not anonymous.
        User = "user",
        /// A verified user.
        Verified = "verified",
        /// A role.
        Role = "role",
        /// An authentication method.
        Amr = "amr",
        /// A recent authentication.
        MaxAge = "max_age",
        /// A session that could be checked.
        Error = "error",
    }
}

label! {
    /// What became of a webhook request.
    pub enum WebhookResult {
        /// A user's entries were removed.
        Purged = "purged",
        /// An event that concerns no entry.
        Ignored = "ignored",
        /// The signature is missing or wrong.
        BadSignature = "bad_signature",
        /// The signature holds, but it is no event.
        Malformed = "malformed",
    }
}

label! {
    /// How a call of the resolver ended.
    pub enum CallResult {
        /// With a valid session.
        Valid = "valid",
        /// With the word that the credentials are not valid.
        Invalid = "invalid",
        /// With no session.
        None = "none",
        /// With another status than 200.
        BadStatus = "bad_status",
        /// With something that is not HTTP, or not a session.
        Malformed = "malformed",
        /// Not in time.
        Timeout = "timeout",
        /// Without a connection, or with a broken one.
        Unreachable = "unreachable",
        /// The client left first.
        ClientClosed = "client_closed",
    }
}

label! {
    /// The class of a resolver's HTTP status.
    pub(crate) enum StatusClass {
        Informational = "1xx",
        Success = "2xx",
        Redirection = "3xx",
        ClientError = "4xx",
        ServerError = "5xx",
        Other = "other",
    }
}

impl StatusClass {
    /// None when there was no response, which nginx calls status 0.
    pub(crate) fn of(status: u16) -> Option<Self> {
        Some(match status {
            0 => return None,
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            500..=599 => Self::ServerError,
            _ => Self::Other,
        })
    }
}
