//! The form in which the numbers are asked for.

use authgear_session::accept::{preference, MediaRange, Precision};

/// A form of the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// One JSON object.
    Json,
    /// Prometheus' text format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The value of `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The form that a request asks for. None if its argument `format` names no form.
///
/// The argument decides if there is one: `json`, `prometheus` or `openmetrics`. Else `Accept`
/// (several joined by commas) does: the form that it rates highest (RFC 9110, 12.5.1); of equal ones
/// the one that it names most exactly, so that `text/plain, */*` gets text and `*/*` JSON. Who
/// accepts none gets JSON nevertheless, which helps more than a 406.
#[must_use]
pub fn negotiate(accept: Option<&[u8]>, format_argument: Option<&[u8]>) -> Option<Format> {
    match format_argument {
        None => Some(preferred(accept.unwrap_or_default())),
        Some(b"json") => Some(Format::Json),
        Some(b"prometheus") => Some(Format::Prometheus),
        Some(b"openmetrics") => Some(Format::OpenMetrics),
        Some(_) => None,
    }
}

fn preferred(accept: &[u8]) -> Format {
    // max_by_key takes the last of equal ones
    [Format::Prometheus, Format::OpenMetrics, Format::Json]
        .into_iter()
        .max_by_key(|&format| preference(accept, |range| precision(range, format)))
        .unwrap_or(Format::Json)
}

fn precision(range: &MediaRange<'_>, format: Format) -> Option<Precision> {
    if range.is(b"*/*") {
        return Some(Precision::Any);
    }
    let (any, exact) = match format {
        Format::Json => (range.is(b"application/*"), range.is(b"application/json")),
        // the later versions of the text format read the first one
        Format::Prometheus => (range.is(b"text/*"), range.is(b"text/plain")),
        // an older Prometheus knows 0.0.1 alone, and asks for text next
        Format::OpenMetrics => (
            range.is(b"application/*"),
            range.is(b"application/openmetrics-text")
                && matches!(range.version, None | Some(b"1.0.0")),
        ),
    };
    match (any, exact) {
        (_, true) => Some(Precision::Exact),
        (true, _) => Some(Precision::Type),
        _ => None,
    }
}
