//! What a client prefers, and how a refusal looks to it.

use authgear_session::accept::{media_ranges, preference, Precision};
use authgear_session::refusal::{
    body_format, grpc_message, grpc_status, is_navigation, problem_json, BodyFormat,
    NavigationHeaders,
};
use authgear_session::require::Reason;

use crate::cut;

/// `FLAGS NL SEC-FETCH-MODE NL CONTENT-TYPE NL ACCEPT`
pub fn run(input: &[u8]) {
    let (flags, rest) = cut(input, b'\n');
    let (mode, rest) = cut(rest, b'\n');
    let (content_type, accept) = cut(rest, b'\n');
    let flags = flags.first().copied().unwrap_or_default();
    let flag = |bit: u8| flags & 1 << bit != 0;

    for range in media_ranges(accept) {
        assert!(range.quality <= 1000);
    }
    let any = preference(accept, |_| Some(Precision::Exact));
    let best = media_ranges(accept).map(|range| range.quality).max();
    assert_eq!(any.quality, best.unwrap_or_default());
    let none = preference(accept, |_| None);
    assert_eq!(none.quality, 0);

    let format = body_format(Some(accept), Some(content_type));
    let grpc = content_type
        .get(..16)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"));
    assert!(grpc || format != BodyFormat::Grpc);
    // Nobody gets JSON who did not speak of it, or of everything.
    let lower = accept.to_ascii_lowercase();
    let speaks = |text: &[u8]| lower.windows(text.len()).any(|window| window == text);
    if format == BodyFormat::ProblemJson {
        assert!(speaks(b"json") || speaks(b"*"));
    }

    let headers = NavigationHeaders {
        sec_fetch_mode: flag(0).then_some(mode),
        any_sec_fetch: flag(1),
        accept: flag(2).then_some(accept),
        x_requested_with: flag(3),
        bearer: flag(4),
        upgrade: flag(5),
    };
    if is_navigation(flag(6), headers) {
        assert!(flag(6) && !flag(3) && !flag(4) && !flag(5));
        match headers.sec_fetch_mode {
            Some(mode) => assert_eq!(mode, b"navigate"),
            None => assert!(!flag(1) && flag(2) && speaks(b"text/html")),
        }
    }

    let status = 400 + u16::from(flags) % 200;
    for reason in [Reason::Session, Reason::MaxAge, Reason::Error] {
        let json: serde_json::Value =
            serde_json::from_slice(&problem_json(status, reason)).expect("JSON");
        assert_eq!(json["status"].as_u64(), Some(u64::from(status)));
        assert!(grpc_message(reason)
            .bytes()
            .all(|b| matches!(b, b' '..=b'~') && b != b'%'));
    }
    assert!(matches!(grpc_status(status), 16 | 7 | 14));
}
