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
        if !matches!(name, [b'x' | b'X', ..]) {
            return None;
        }
        let usual = |field: &Field| SPELLED[*field as usize].as_bytes() == name;
        let mut fields = Field::ALL.into_iter();
        fields.clone().find(usual).or_else(|| {
            fields.find(|field| field.header_name().as_bytes().eq_ignore_ascii_case(name))
        })
    }
}

/// The names as Go spells them, which is how they come.
const SPELLED: [&str; 9] = [
    "X-Authgear-Session-Valid",
    "X-Authgear-User-Id",
    "X-Authgear-User-Anonymous",
    "X-Authgear-User-Verified",
    "X-Authgear-Session-Acr",
    "X-Authgear-Session-Amr",
    "X-Authgear-Session-Authenticated-At",
    "X-Authgear-User-Can-Reauthenticate",
    "X-Authgear-User-Roles",
];

/// Whether a header of this name could be taken for an identity header by anything behind nginx.
///
/// CGI and its heirs (WSGI, FastCGI, Rack, PHP) fold case and turn `-` into `_`, some servers every
/// character that is not a letter or digit (RFC 3875, 4.1.18), so `X_Authgear_User_Id` and
/// `x.authgear.user.id` reach an application as the same variable as the real header. Hence, with
/// case folded and every non-alphanumeric byte read as `-`, all names that begin with
/// `x-authgear-session-` or `x-authgear-user-` count.
///
/// An ordinary header is told apart by its first byte, another `x-` header by its third.
#[inline]
pub fn is_identity_header(name: &[u8]) -> bool {
    matches!(name, [b'x' | b'X', ..])
        && strip_folded(name, b"x-authgear-").is_some_and(|rest| {
            strip_folded(rest, b"session-").is_some() || strip_folded(rest, b"user-").is_some()
        })
}

fn strip_folded<'a>(name: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = name.split_at_checked(prefix.len())?;
    head.iter()
        .zip(prefix)
        .all(|(&byte, &expected)| fold(byte) == expected)
        .then_some(rest)
}

fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() {
        byte.to_ascii_lowercase()
    } else {
        b'-'
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_indexed_by_their_place_in_all() {
        for (index, field) in Field::ALL.into_iter().enumerate() {
            assert_eq!(field as usize, index);
        }
    }

    #[test]
    fn names_in_json_are_the_header_names_without_the_vendor() {
        for field in Field::ALL {
            let header = field.header_name();
            assert_eq!(header, header.to_ascii_lowercase());
            assert_eq!(
                header
                    .strip_prefix("x-authgear-")
                    .unwrap()
                    .replace('-', "_"),
                field.json_name()
            );
        }
    }

    #[test]
    fn fields_are_found_by_their_exact_name_in_any_case() {
        for field in Field::ALL {
            let name = field.header_name();
            assert_eq!(Field::from_header_name(name.as_bytes()), Some(field));
            let upper = name.to_ascii_uppercase();
            assert_eq!(Field::from_header_name(upper.as_bytes()), Some(field));
            let usual = SPELLED[field as usize];
            assert_eq!(usual.to_ascii_lowercase(), name);
            assert_eq!(Field::from_header_name(usual.as_bytes()), Some(field));
            let alias = name.replace('-', "_");
            assert_eq!(Field::from_header_name(alias.as_bytes()), None);
            assert!(is_identity_header(name.as_bytes()));
            assert!(is_identity_header(alias.as_bytes()));
        }
        for name in ["", "x-authgear-user", "x-authgear-user-idx", "user-id"] {
            assert_eq!(Field::from_header_name(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn forged_names_are_recognized() {
        let forged: &[&[u8]] = &[
            b"x-authgear-user-id",
            b"X-Authgear-User-Id",
            b"X_AUTHGEAR_USER_ID",
            b"x_authgear-user_id",
            b"x.authgear.session.valid",
            b"x authgear user id",
            b"x-authgear-user-",
            b"x-authgear-session-",
            b"x-authgear-user-anything-new",
            b"x-authgear-session__",
            b"x\xffauthgear\x00user\x7fid",
            b"x-authgear-user-\xc3\xa9",
        ];
        for name in forged {
            assert!(is_identity_header(name), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn ordinary_names_are_left_alone() {
        let ordinary: &[&[u8]] = &[
            b"",
            b"x",
            b"x-",
            b"host",
            b"cookie",
            b"x-forwarded-for",
            b"x-authgear",
            b"x-authgear-",
            b"x-authgear-user",
            b"x-authgear-session",
            b"x-authgear-users-id",
            b"x-authgear-body-signature",
            b"xx-authgear-user-id",
            b"-x-authgear-user-id",
            b"xaauthgear-user-id",
            b"xauthgearuserid",
            b"x--authgear-user-id",
            b"authgear-user-id",
        ];
        for name in ordinary {
            assert!(!is_identity_header(name), "{}", name.escape_ascii());
        }
    }
}
