//! The identity headers, and which names count as forged ones.

/// One of the headers in which Authgear's resolver states a session
/// (`pkg/api/model/session_info.go` in authgear-server).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// `x-authgear-session-valid`: `true` or `false`
    SessionValid,
    /// `x-authgear-user-id`
    UserId,
    /// `x-authgear-user-anonymous`: `true` or `false`
    UserAnonymous,
    /// `x-authgear-user-verified`: `true` or `false`
    UserVerified,
    /// `x-authgear-session-acr`: sent by older servers only
    SessionAcr,
    /// `x-authgear-session-amr`: a list, often empty
    SessionAmr,
    /// `x-authgear-session-authenticated-at`: Unix seconds
    SessionAuthenticatedAt,
    /// `x-authgear-user-can-reauthenticate`: `true` or `false`
    UserCanReauthenticate,
    /// `x-authgear-user-roles`: a list
    UserRoles,
}

impl Field {
    /// All of them, in the order of the enum.
    pub const ALL: [Field; 9] = [
        Field::SessionValid,
        Field::UserId,
        Field::UserAnonymous,
        Field::UserVerified,
        Field::SessionAcr,
        Field::SessionAmr,
        Field::SessionAuthenticatedAt,
        Field::UserCanReauthenticate,
        Field::UserRoles,
    ];

    /// The header's name, in lower case.
    pub fn header_name(self) -> &'static str {
        match self {
            Field::SessionValid => "x-authgear-session-valid",
            Field::UserId => "x-authgear-user-id",
            Field::UserAnonymous => "x-authgear-user-anonymous",
            Field::UserVerified => "x-authgear-user-verified",
            Field::SessionAcr => "x-authgear-session-acr",
            Field::SessionAmr => "x-authgear-session-amr",
            Field::SessionAuthenticatedAt => "x-authgear-session-authenticated-at",
            Field::UserCanReauthenticate => "x-authgear-user-can-reauthenticate",
            Field::UserRoles => "x-authgear-user-roles",
        }
    }

    /// The member's name in [`Session::to_json`](crate::answer::Session::to_json), which is the
    /// nginx variable's name without `authgear_`.
    pub fn json_name(self) -> &'static str {
        match self {
            Field::SessionValid => "session_valid",
            Field::UserId => "user_id",
            Field::UserAnonymous => "user_anonymous",
            Field::UserVerified => "user_verified",
            Field::SessionAcr => "session_acr",
            Field::SessionAmr => "session_amr",
            Field::SessionAuthenticatedAt => "session_authenticated_at",
            Field::UserCanReauthenticate => "user_can_reauthenticate",
            Field::UserRoles => "user_roles",
        }
    }

    /// The field of exactly this header name, whatever its case.
    pub fn from_header_name(name: &[u8]) -> Option<Field> {
        Field::ALL
            .into_iter()
            .find(|field| field.header_name().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// Whether a header of this name could be taken for an identity header by anything behind nginx.
pub fn is_identity_header(name: &[u8]) -> bool {
    let _ = name;
    todo!()
}
