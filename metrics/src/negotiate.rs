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
        .max_by_key(|&format| preference(accept, format))
        .unwrap_or(Format::Json)
}

/// How exactly a range of `Accept` names a form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    /// `*/*`
    Any,
    /// `text/*`
    Type,
    /// `text/plain`
    Exact,
}

/// What `Accept` says of a form; the greater one is preferred.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Preference {
    /// In thousandths.
    quality: u16,
    precision: Precision,
}

const UNWANTED: Preference = Preference {
    quality: 0,
    precision: Precision::Any,
};

/// Of the ranges that name a form most exactly, the highest rated decides.
fn preference(accept: &[u8], format: Format) -> Preference {
    split_unquoted(accept, b',')
        .filter_map(Range::parse)
        .filter_map(|range| Some((range.precision(format)?, range.quality)))
        .max()
        .map_or(UNWANTED, |(precision, quality)| {
            // none is as unwanted as another
            if quality == 0 {
                UNWANTED
            } else {
                Preference { quality, precision }
            }
        })
}

/// One element of `Accept`.
struct Range<'a> {
    media_type: &'a [u8],
    version: Option<&'a [u8]>,
    /// In thousandths.
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(element: &'a [u8]) -> Option<Self> {
        let mut parts = split_unquoted(element, b';').map(<[u8]>::trim_ascii);
        let mut range = Range {
            media_type: parts.next()?,
            version: None,
            quality: 1000,
        };
        for part in parts {
            match part {
                [b'q' | b'Q', b'=', value @ ..] => range.quality = parse_quality(value)?,
                part => {
                    if let Some((b"version=", value)) = part.split_at_checked(8) {
                        range.version = Some(value);
                    }
                }
            }
        }
        Some(range)
    }

    fn precision(&self, format: Format) -> Option<Precision> {
        let is = |media_type: &[u8]| self.media_type.eq_ignore_ascii_case(media_type);
        if is(b"*/*") {
            return Some(Precision::Any);
        }
        let (any, exact) = match format {
            Format::Json => (is(b"application/*"), is(b"application/json")),
            // the later versions of the text format read the first one
            Format::Prometheus => (is(b"text/*"), is(b"text/plain")),
            // an older Prometheus knows 0.0.1 alone, and asks for text next
            Format::OpenMetrics => (
                is(b"application/*"),
                is(b"application/openmetrics-text")
                    && matches!(self.version, None | Some(b"1.0.0")),
            ),
        };
        match (any, exact) {
            (_, true) => Some(Precision::Exact),
            (true, _) => Some(Precision::Type),
            _ => None,
        }
    }
}

/// `qvalue` of RFC 9110, 12.4.2, in thousandths.
fn parse_quality(value: &[u8]) -> Option<u16> {
    let (&whole, fraction) = value.split_first()?;
    let digits = match fraction {
        [] | [b'.'] => &[],
        [b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return None,
    };
    let thousandths = (0..3).fold(0, |sum, i| {
        sum * 10 + digits.get(i).map_or(0, |digit| u16::from(digit - b'0'))
    });
    match (whole, thousandths) {
        (b'0', _) => Some(thousandths),
        (b'1', 0) => Some(1000),
        _ => None,
    }
}

/// Splits at a separator that is not inside a quoted string (RFC 9110, 5.6.4).
fn split_unquoted(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |&byte| {
        if escaped {
            escaped = false;
            return false;
        }
        match byte {
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => return byte == separator && !quoted,
        }
        false
    })
}
