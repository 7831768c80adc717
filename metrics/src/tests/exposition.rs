//! A strict reader of the text formats, written from their specifications and not from our writer.

use std::collections::{BTreeMap, HashSet};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Prometheus,
    OpenMetrics,
}

#[derive(Debug)]
pub(super) struct Exposition {
    pub(super) families: Vec<Family>,
}

#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) samples: Vec<Sample>,
}

#[derive(Debug)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

type Read<T> = Result<T, String>;

impl Exposition {
    pub(super) fn parse(text: &str, format: Format) -> Read<Self> {
        let body = match format {
            Format::Prometheus => text,
            Format::OpenMetrics => text.strip_suffix("# EOF\n").ok_or("no EOF at the end")?,
        };
        let body = body.strip_suffix('\n').ok_or("the last line has no end")?;

        let mut families: Vec<Family> = Vec::new();
        let mut lines = body.split('\n').peekable();
        while let Some(line) = lines.next() {
            let (name, help) = introduction(line, "HELP")?;
            let line = lines.next().ok_or("HELP at the end")?;
            let (same_name, kind) = introduction(line, "TYPE")?;
            check(same_name == name, || format!("another name: {line}"))?;
            check(!help.is_empty(), || format!("{name} has no help"))?;
            check(families.iter().all(|family| family.name != name), || {
                format!("{name} comes twice")
            })?;
            let mut samples = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                samples.push(sample(line).map_err(|error| format!("{error}: {line}"))?);
            }
            let family = Family {
                name: name.to_owned(),
                kind: kind.to_owned(),
                samples,
            };
            family.check(format)?;
            families.push(family);
        }

        let mut seen = HashSet::new();
        for sample in families.iter().flat_map(|family| &family.samples) {
            check(seen.insert((&sample.name, &sample.labels)), || {
                format!("comes twice: {sample:?}")
            })?;
        }
        Ok(Exposition { families })
    }

    pub(super) fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.families.iter().flat_map(|family| &family.samples)
    }

    /// The value of the one sample of that name, without our prefix, that has these labels.
    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found: Vec<_> = self
            .samples()
            .filter(|sample| {
                sample.name.strip_prefix("nginx_authgear_") == Some(name)
                    && labels
                        .iter()
                        .all(|(label, value)| sample.labels.get(*label).is_some_and(|v| v == value))
            })
            .collect();
        assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
        found[0].value
    }
}

impl Family {
    fn check(&self, format: Format) -> Read<()> {
        let name = &self.name;
        check(is_name(name), || format!("{name} is no name"))?;
        check(name.starts_with("nginx_authgear_"), || {
            format!("{name} is not ours")
        })?;
        check(!self.samples.is_empty(), || {
            format!("{name} has no samples")
        })?;

        let sample_name = match (self.kind.as_str(), format) {
            ("counter", Format::Prometheus) => {
                check(name.ends_with("_total"), || format!("counter {name}"))?;
                name.clone()
            }
            ("counter", Format::OpenMetrics) => format!("{name}_total"),
            ("info", Format::OpenMetrics) => format!("{name}_info"),
            ("gauge", _) => name.clone(),
            ("histogram", _) => return self.check_histogram(),
            (kind, _) => return Err(format!("{name} is a {kind}")),
        };
        for sample in &self.samples {
            check(sample.name == sample_name, || {
                format!("in {name}: {sample:?}")
            })?;
            check(sample.value.is_finite() && sample.value >= 0.0, || {
                format!("{sample:?}")
            })?;
        }
        Ok(())
    }

    /// One histogram for each set of the other labels, its samples together and in order.
    fn check_histogram(&self) -> Read<()> {
        let name = &self.name;
        let mut samples = self.samples.iter().peekable();
        while let Some(first) = samples.peek() {
            let mut of = first.labels.clone();
            of.remove("le");
            let (mut bound, mut count) = (f64::NEG_INFINITY, 0.0);
            while let Some(bucket) =
                samples.next_if(|sample| sample.name == format!("{name}_bucket"))
            {
                let mut labels = bucket.labels.clone();
                let le = number(&labels.remove("le").ok_or("a bucket without le")?)?;
                check(labels == of, || format!("mixed: {bucket:?}"))?;
                check(le > bound, || format!("not in order: {bucket:?}"))?;
                check(bucket.value >= count, || {
                    format!("not cumulative: {bucket:?}")
                })?;
                (bound, count) = (le, bucket.value);
            }
            check(bound == f64::INFINITY, || {
                format!("{name}{of:?} has no +Inf")
            })?;
            for (part, at_least) in [("_sum", 0.0), ("_count", count)] {
                let sample = samples.next().ok_or("an unfinished histogram")?;
                check(sample.name == format!("{name}{part}"), || {
                    format!("{sample:?}")
                })?;
                check(sample.labels == of, || format!("mixed: {sample:?}"))?;
                check(sample.value >= at_least, || format!("{sample:?}"))?;
                check(part == "_sum" || sample.value == count, || {
                    format!("{count} in all buckets: {sample:?}")
                })?;
            }
        }
        Ok(())
    }
}

fn check(holds: bool, error: impl FnOnce() -> String) -> Read<()> {
    if holds {
        Ok(())
    } else {
        Err(error())
    }
}

/// `# HELP name text`
fn introduction<'a>(line: &'a str, word: &str) -> Read<(&'a str, &'a str)> {
    line.strip_prefix("# ")
        .and_then(|rest| rest.strip_prefix(word)?.strip_prefix(' ')?.split_once(' '))
        .ok_or_else(|| format!("expected {word}: {line}"))
}

/// `name{label="value",...} number`
fn sample(line: &str) -> Read<Sample> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    check(is_name(name), || format!("{name} is no name"))?;

    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or("no label")?;
            check(is_name(label) && !label.contains(':'), || {
                format!("{label} is no label")
            })?;
            let (value, after) = quoted(after)?;
            check(labels.insert(label.to_owned(), value).is_none(), || {
                format!("{label} comes twice")
            })?;
            match after.strip_prefix(',') {
                Some(after) => rest = after,
                None => {
                    rest = after.strip_prefix('}').ok_or("labels have no end")?;
                    break;
                }
            }
        }
    }
    let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
    Ok(Sample {
        name: name.to_owned(),
        labels,
        value: number(value)?,
    })
}

/// What stands before the closing quote, unescaped, and what follows.
fn quoted(text: &str) -> Read<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(match chars.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('\\' | '"'))) => c,
                other => return Err(format!("an escape of {other:?}")),
            }),
            c => value.push(c),
        }
    }
    Err("an open quote".to_owned())
}

fn number(text: &str) -> Read<f64> {
    if text == "+Inf" {
        return Ok(f64::INFINITY);
    }
    let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    check(digits, || format!("{text} is no number"))?;
    text.parse().map_err(|_| format!("{text} is no number"))
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`
fn is_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'))
}

#[test]
fn reader_refuses_what_is_wrong() {
    const GOOD: &str = "# HELP nginx_authgear_a_total h\n# TYPE nginx_authgear_a_total counter\n\
                        nginx_authgear_a_total{b=\"c\"} 1\n";
    assert!(Exposition::parse(GOOD, Format::Prometheus).is_ok());
    for (from, to) in [
        ("# HELP", "# HELPS"),
        ("# HELP nginx_authgear_a_total h\n", ""),
        ("counter", "summary"),
        ("{b=\"c\"} 1", "{b=\"c\"} one"),
        ("{b=\"c\"} 1", "{b=\"c\"}1"),
        ("{b=\"c\"} 1", "{b=\"c} 1"),
        ("{b=\"c\"} 1", "{b=\"\\c\"} 1"),
        ("{b=\"c\"} 1", "{b=\"c\",} 1"),
        ("{b=\"c\"} 1", "{b=\"c\",b=\"c\"} 1"),
        ("{b=\"c\"} 1\n", "{b=\"c\"} 1"),
        ("{b=\"c\"} 1\n", "{b=\"c\"} 1\n\n"),
        (
            "{b=\"c\"} 1\n",
            "{b=\"c\"} 1\nnginx_authgear_a_total{b=\"c\"} 1\n",
        ),
        ("nginx_authgear_a_total{", "nginx_authgear_b_total{"),
        ("a_total", "a"),
    ] {
        let text = GOOD.replace(from, to);
        assert_ne!(text, GOOD);
        assert!(
            Exposition::parse(&text, Format::Prometheus).is_err(),
            "{text}"
        );
    }
    assert!(Exposition::parse(GOOD, Format::OpenMetrics).is_err());
}
