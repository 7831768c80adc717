//! `Accept` (RFC 9110, section 12.5.1): which of several forms a client prefers.

/// How exactly a range names a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// `*/*`
    Any,
    /// `text/*`
    Type,
    /// `text/html`
    Exact,
}

/// What `Accept` says of a form; the greater one is preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Preference {
    /// In thousandths.
    pub quality: u16,
    /// Of equal qualities the form that is named more exactly is preferred.
    pub precision: Precision,
}

/// Of a form that no range names, or that is refused.
const UNWANTED: Preference = Preference {
    quality: 0,
    precision: Precision::Any,
};

/// The preference for the form that `names` recognises: of the ranges that name it most exactly, the
/// highest rated decides. Several `Accept` headers are to be joined by commas.
pub fn preference(
    accept: &[u8],
    names: impl Fn(&MediaRange<'_>) -> Option<Precision>,
) -> Preference {
    media_ranges(accept)
        .filter_map(|range| Some((names(&range)?, range.quality)))
        .max()
        .map_or(UNWANTED, |(precision, quality)| match quality {
            // none is as unwanted as another
            0 => UNWANTED,
            _ => Preference { quality, precision },
        })
}

/// One element of `Accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaRange<'a> {
    /// `text/html`, `text/*` or `*/*`, as spelt.
    pub media_type: &'a [u8],
    /// Its parameter `version`.
    pub version: Option<&'a [u8]>,
    /// In thousandths.
    pub quality: u16,
}

impl<'a> MediaRange<'a> {
    fn parse(element: &'a [u8]) -> Option<Self> {
        let mut parts = split_unquoted(element, b';').map(<[u8]>::trim_ascii);
        let mut range = MediaRange {
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

    /// Whether it names this media type.
    #[must_use]
    pub fn is(&self, media_type: &[u8]) -> bool {
        self.media_type.eq_ignore_ascii_case(media_type)
    }
}

/// The elements of `Accept`; malformed ones are left out.
pub fn media_ranges(accept: &[u8]) -> impl Iterator<Item = MediaRange<'_>> {
    split_unquoted(accept, b',').filter_map(MediaRange::parse)
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
