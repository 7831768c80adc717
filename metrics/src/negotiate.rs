//! The form in which the numbers are asked for.

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

/// The form that a request asks for: by the argument `format`, else by `Accept` (several joined by
/// commas), else JSON. None if the argument names no form.
#[must_use]
pub fn negotiate(accept: Option<&[u8]>, format_argument: Option<&[u8]>) -> Option<Format> {
    let _ = accept;
    match format_argument {
        None | Some(b"json") => Some(Format::Json),
        Some(b"prometheus") => Some(Format::Prometheus),
        Some(b"openmetrics") => Some(Format::OpenMetrics),
        Some(_) => None,
    }
}
