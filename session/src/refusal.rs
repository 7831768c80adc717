//! How a refusal looks to the client that gets it: a page, a problem or a gRPC status.

use crate::accept::{media_ranges, preference, MediaRange, Precision};
use http::StatusCode;
use serde::Serialize;

use crate::require::Reason;

/// The headers that tell a page visit from a script's request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NavigationHeaders<'a> {
    /// The value of `Sec-Fetch-Mode`.
    pub sec_fetch_mode: Option<&'a [u8]>,
    /// Any `Sec-Fetch-*` header came, `Sec-Fetch-Mode` or another.
    pub any_sec_fetch: bool,
    /// The value of `Accept`, several joined by commas.
    pub accept: Option<&'a [u8]>,
    /// `X-Requested-With` came.
    pub x_requested_with: bool,
    /// The request carries a bearer token.
    pub bearer: bool,
    /// The request asks for another protocol: a websocket handshake.
    pub upgrade: bool,
}

/// Whether a browser shows the answer to this request as a page, and so can follow a redirect to a
/// login page (design, "Enforcing"; Fetch Metadata, 2.3).
#[must_use]
pub fn is_navigation(method_is_get_or_head: bool, headers: NavigationHeaders<'_>) -> bool {
    if !method_is_get_or_head || headers.bearer || headers.x_requested_with || headers.upgrade {
        return false;
    }
    match headers.sec_fetch_mode {
        Some(mode) => mode == b"navigate",
        None => !headers.any_sec_fetch && headers.accept.is_some_and(lists_html),
    }
}

/// Whether this is a CORS preflight (Fetch, "CORS-preflight request"); `origin` and
/// `access_control_request_method` say that these headers came.
#[must_use]
pub fn is_preflight(
    method_is_options: bool,
    origin: bool,
    access_control_request_method: bool,
) -> bool {
    method_is_options && origin && access_control_request_method
}

/// In what form a refusal is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    /// nginx's own page, or what `error_page` makes of it.
    Html,
    /// `application/problem+json` (RFC 9457).
    ProblemJson,
    /// 200 with a gRPC status in the headers ("Trailers-Only" of the gRPC protocol), under the
    /// request's own Content-Type.
    Grpc,
}

/// The form in which a client understands a refusal.
///
/// `content_type` is the request's: a gRPC client sends no useful `Accept`. JSON it is when `accept`
/// (several joined by commas) rates it above `text/html` (RFC 9110, 12.5.1), or equal to it but
/// names it more exactly, as in `application/json, */*`.
#[must_use]
pub fn body_format(accept: Option<&[u8]>, content_type: Option<&[u8]>) -> BodyFormat {
    if content_type.is_some_and(is_grpc) {
        return BodyFormat::Grpc;
    }
    let accept = accept.unwrap_or_default();
    let json = preference(accept, is_json);
    let html = preference(accept, is_html);
    if json.quality > 0 && json > html {
        BodyFormat::ProblemJson
    } else {
        BodyFormat::Html
    }
}

/// The body of a refusal as problem details (RFC 9457), with the reason as an extension member.
#[must_use]
pub fn problem_json(status: u16, reason: Reason) -> Vec<u8> {
    #[derive(Serialize)]
    struct Problem {
        #[serde(rename = "type")]
        kind: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'static str>,
        status: u16,
        detail: &'static str,
        reason: &'static str,
    }

    let title = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    let problem = Problem {
        kind: "about:blank",
        title,
        status,
        detail: detail(reason),
        reason: reason.as_str(),
    };
    // strings and a number: there is nothing in it that could fail
    serde_json::to_vec(&problem).unwrap_or_default()
}

/// The gRPC status of a refusal: `UNAUTHENTICATED`, `PERMISSION_DENIED` or `UNAVAILABLE`.
#[must_use]
pub fn grpc_status(status: u16) -> u8 {
    match status {
        401 => 16,
        403 => 7,
        _ => 14,
    }
}

/// The value of `grpc-message`; it has no byte that would need percent-encoding there.
#[must_use]
pub fn grpc_message(reason: Reason) -> &'static str {
    detail(reason)
}

fn detail(reason: Reason) -> &'static str {
    match reason {
        Reason::Session => "A valid session is required.",
        Reason::User => "A signed-in user is required, not an anonymous one.",
        Reason::Verified => "A verified user is required.",
        Reason::Role => "The user does not have a required role.",
        Reason::Amr => "Another authentication method is required.",
        Reason::MaxAge => "A more recent authentication is required.",
        Reason::Error => "The session could not be checked.",
    }
}

fn is_json(range: &MediaRange<'_>) -> Option<Precision> {
    let media_type = range.media_type.to_ascii_lowercase();
    match media_type.as_slice() {
        b"application/json" => Some(Precision::Exact),
        b"application/*" => Some(Precision::Type),
        b"*/*" => Some(Precision::Any),
        _ => (media_type.starts_with(b"application/") && media_type.ends_with(b"+json"))
            .then_some(Precision::Exact),
    }
}

fn is_html(range: &MediaRange<'_>) -> Option<Precision> {
    match range.media_type.to_ascii_lowercase().as_slice() {
        b"text/html" => Some(Precision::Exact),
        b"text/*" => Some(Precision::Type),
        b"*/*" => Some(Precision::Any),
        _ => None,
    }
}

fn lists_html(accept: &[u8]) -> bool {
    media_ranges(accept).any(|range| range.is(b"text/html") && range.quality > 0)
}

/// `application/grpc`, `application/grpc+proto`, `application/grpc-web` and their like.
fn is_grpc(content_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let Some((name, rest)) = content_type.split_at_checked(GRPC.len()) else {
        return false;
    };
    name.eq_ignore_ascii_case(GRPC)
        && matches!(rest.first(), None | Some(b'+' | b'-' | b';' | b' ' | b'\t'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{json, Value};

    use super::*;

    const CHROME: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,\
                          image/webp,*/*;q=0.8";

    const REASONS: [Reason; 7] = [
        Reason::Session,
        Reason::User,
        Reason::Verified,
        Reason::Role,
        Reason::Amr,
        Reason::MaxAge,
        Reason::Error,
    ];

    #[test]
    fn navigations() {
        let none = NavigationHeaders::default();
        let mode = |mode: &'static str| NavigationHeaders {
            sec_fetch_mode: Some(mode.as_bytes()),
            any_sec_fetch: true,
            accept: Some(CHROME.as_bytes()),
            ..none
        };
        let accept = |accept: &'static str| NavigationHeaders {
            accept: Some(accept.as_bytes()),
            ..none
        };
        let visit = mode("navigate");

        for (headers, expected) in [
            (visit, true),
            (
                NavigationHeaders {
                    accept: None,
                    ..visit
                },
                true,
            ),
            (
                NavigationHeaders {
                    any_sec_fetch: false,
                    ..visit
                },
                true,
            ),
            (mode("cors"), false),
            (mode("same-origin"), false),
            (mode("no-cors"), false),
            (mode("websocket"), false),
            (mode("Navigate"), false),
            (mode(""), false),
            (
                NavigationHeaders {
                    sec_fetch_mode: None,
                    ..visit
                },
                false,
            ),
            (none, false),
            (accept(CHROME), true),
            (accept("text/html"), true),
            (accept("TEXT/HTML"), true),
            (accept("application/json , text/html;q=0.1"), true),
            (accept("text/html;q=0"), false),
            (accept("text/html;q=0.000"), false),
            (accept("*/*"), false),
            (accept("text/*"), false),
            (accept("application/json"), false),
            (accept("application/x;a=\"text/html\""), false),
            (accept("application/x;a=\",text/html,\""), false),
            (accept("text/htmlx"), false),
            (accept(""), false),
            (
                NavigationHeaders {
                    bearer: true,
                    ..visit
                },
                false,
            ),
            (
                NavigationHeaders {
                    x_requested_with: true,
                    ..visit
                },
                false,
            ),
            (
                NavigationHeaders {
                    upgrade: true,
                    ..visit
                },
                false,
            ),
            (
                NavigationHeaders {
                    bearer: true,
                    ..accept(CHROME)
                },
                false,
            ),
            (
                NavigationHeaders {
                    x_requested_with: true,
                    ..accept(CHROME)
                },
                false,
            ),
            (
                NavigationHeaders {
                    upgrade: true,
                    ..accept(CHROME)
                },
                false,
            ),
        ] {
            assert_eq!(is_navigation(true, headers), expected, "{headers:?}");
            assert!(!is_navigation(false, headers), "a POST with {headers:?}");
        }
    }

    #[test]
    fn preflights() {
        for bits in 0..8 {
            let (options, origin, method) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
            assert_eq!(is_preflight(options, origin, method), bits == 7);
        }
    }

    #[test]
    fn body_formats_by_accept() {
        use BodyFormat::{Html, ProblemJson};

        for (accept, expected) in [
            (None, Html),
            (Some(""), Html),
            (Some("*/*"), Html),
            (Some(CHROME), Html),
            (Some("text/html"), Html),
            (Some("text/plain"), Html),
            (Some("application/xml"), Html),
            (Some("application/json"), ProblemJson),
            (Some("Application/JSON"), ProblemJson),
            (Some("application/problem+json"), ProblemJson),
            (Some("application/vnd.api+json"), ProblemJson),
            (Some("application/*"), ProblemJson),
            (Some("application/json;charset=utf-8"), ProblemJson),
            (Some("application/json, text/plain, */*"), ProblemJson),
            (Some("*/*, application/json"), ProblemJson),
            (Some("application/json, text/*"), ProblemJson),
            (Some("text/html, application/json"), Html),
            (Some("application/json, text/html"), Html),
            (Some("application/json, text/html;q=0.9"), ProblemJson),
            (
                Some("text/html;q=0.9 , application/json ; q=1.0"),
                ProblemJson,
            ),
            (Some("application/json;q=0.9, text/html"), Html),
            (Some("application/json;q=0.5, */*;q=0.8"), Html),
            (Some("application/json;q=0.8, */*;q=0.5"), ProblemJson),
            (Some("application/json;q=0.001, text/html;q=0"), ProblemJson),
            (Some("application/json;q=0"), Html),
            (Some("application/json;q=0, */*"), Html),
            (
                Some("application/json;q=0, application/problem+json"),
                ProblemJson,
            ),
            (
                Some("application/*;q=0.5, application/json;q=0.1, text/html;q=0.3"),
                Html,
            ),
            (Some("application/json;q=2, text/html;q=0.1"), Html),
            (Some("application/json;q=0.1234"), Html),
            (Some("application/json;q=, text/html;q=0.1"), Html),
            (
                Some("application/json;profile=\"a,b;q=0\";q=0.5, text/html;q=0.1"),
                ProblemJson,
            ),
            (
                Some("application/json;profile=\"\\\",text/html\""),
                ProblemJson,
            ),
            (Some("application/x;a=\"application/json"), Html),
            (Some("application/jsonx"), Html),
            (Some("text/x+json"), Html),
            (Some(",;,=,\"\",application/json,"), ProblemJson),
        ] {
            assert_eq!(
                body_format(accept.map(str::as_bytes), None),
                expected,
                "{accept:?}"
            );
        }
    }

    #[test]
    fn grpc_by_content_type() {
        for (content_type, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=utf-8", true),
            ("application/grpc-web-text", true),
            ("Application/gRPC", true),
            ("application/grpcx", false),
            ("application/json", false),
            ("application/grp", false),
            ("", false),
        ] {
            let accept = Some(&b"application/json"[..]);
            let expected = if grpc {
                BodyFormat::Grpc
            } else {
                BodyFormat::ProblemJson
            };
            assert_eq!(body_format(accept, Some(content_type.as_bytes())), expected);
        }
    }

    #[test]
    fn problems_as_rfc_9457_writes_them() {
        assert_eq!(
            String::from_utf8(problem_json(401, Reason::Session)).unwrap(),
            "{\"type\":\"about:blank\",\"title\":\"Unauthorized\",\"status\":401,\
             \"detail\":\"A valid session is required.\",\"reason\":\"session\"}"
        );
        for (status, title) in [
            (401, json!("Unauthorized")),
            (403, json!("Forbidden")),
            (503, json!("Service Unavailable")),
            (502, json!("Bad Gateway")),
            (429, json!("Too Many Requests")),
            (499, Value::Null),
        ] {
            for reason in REASONS {
                let problem: Value = serde_json::from_slice(&problem_json(status, reason)).unwrap();
                assert_eq!(problem["type"], "about:blank");
                assert_eq!(problem["title"], title);
                assert_eq!(problem["status"], status);
                assert_eq!(problem["reason"], reason.as_str());
                assert!(problem["detail"].is_string());
            }
        }
    }

    #[test]
    fn grpc_statuses() {
        for (status, expected) in [(401, 16), (403, 7), (503, 14), (500, 14), (429, 14)] {
            assert_eq!(grpc_status(status), expected);
        }
    }

    #[test]
    fn grpc_messages_need_no_encoding() {
        for reason in REASONS {
            let message = grpc_message(reason);
            assert!(
                message
                    .bytes()
                    .all(|b| matches!(b, 0x20..=0x7e) && b != b'%'),
                "{message}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(accept: Vec<u8>, content_type: Vec<u8>) {
            let _ = body_format(Some(&accept), Some(&content_type));
            let headers = NavigationHeaders { accept: Some(&accept), ..Default::default() };
            let _ = is_navigation(true, headers);
        }

        #[test]
        fn no_accept_like_text_panics(accept in "([a-z*/+]{0,9}|[,;\"\\\\ =q.0-9]){0,30}") {
            let _ = body_format(Some(accept.as_bytes()), None);
        }
    }
}
