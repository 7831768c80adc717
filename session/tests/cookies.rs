//! Cookies are read, and written again, exactly as Go's `net/http` reads them.

use authgear_session::credentials::{CookieKind, CookieNames, Credentials};
use proptest::prelude::*;

type Bytes = &'static [u8];

/// Why, the `Cookie` lines, what `Request.Cookie("session")` gives.
type Row = (&'static str, &'static [Bytes], Option<Bytes>);

#[rustfmt::skip]
const READ: &[Row] = &[
    // one cookie
    ("plain", &[b"session=abc"], Some(b"abc")),
    ("real", &[b"session=0f3c9a5e-7d3b.q7Vb2Zp0"], Some(b"0f3c9a5e-7d3b.q7Vb2Zp0")),
    ("empty value", &[b"session="], Some(b"")),
    ("no = at all", &[b"session"], Some(b"")),
    ("no = with spaces around", &[b" session "], Some(b"")),
    ("no line", &[], None),
    ("empty line", &[b""], None),
    ("blank line", &[b" \t "], None),
    ("another cookie", &[b"other=abc"], None),
    ("only a value", &[b"=session"], None),
    ("only =", &[b"="], None),

    // the first = cuts
    ("= in the value", &[b"session=a=b"], Some(b"a=b")),
    ("= at its end", &[b"session=YWI="], Some(b"YWI=")),
    ("= at its beginning", &[b"session==a"], Some(b"=a")),
    ("our name inside a value", &[b"other=session=abc"], None),
    ("our name behind a lone =", &[b"=session=abc"], None),

    // only ; separates
    ("first of two", &[b"session=abc; other=x"], Some(b"abc")),
    ("second of two", &[b"other=x; session=abc"], Some(b"abc")),
    ("no space behind ;", &[b"other=x;session=abc"], Some(b"abc")),
    ("space before ;", &[b"session=abc ; other=x"], Some(b"abc")),
    ("comma kept", &[b"session=abc,other=x"], Some(b"abc,other=x")),
    ("comma is no separator", &[b"other=x, session=abc"], None),
    ("comma before the name", &[b",session=abc"], None),
    ("& is no separator", &[b"other=x&session=abc"], None),
    ("empty parts", &[b";;session=abc;;"], Some(b"abc")),
    ("blank parts", &[b"; ;\t; session=abc; "], Some(b"abc")),
    ("nothing but separators", &[b"; ; ;"], None),
    ("old attributes are cookies", &[b"$Version=1; session=abc; $Path=/"], Some(b"abc")),

    // spaces and tabs around
    ("line trimmed", &[b"  session=abc  "], Some(b"abc")),
    ("tabs trimmed", &[b"\tsession=abc\t"], Some(b"abc")),
    ("part trimmed", &[b"other=x; \t session=abc\t ;y=z"], Some(b"abc")),
    ("space before = trimmed", &[b"session =abc"], Some(b"abc")),
    ("tab before = trimmed", &[b"session\t=abc"], Some(b"abc")),
    ("space behind = kept", &[b"session= abc"], Some(b" abc")),
    ("tab behind = is invalid", &[b"session=\tabc"], None),
    ("space inside", &[b"session=a b"], Some(b"a b")),
    ("tab inside is invalid", &[b"session=a\tb"], None),
    ("nothing but spaces", &[b"session=   "], Some(b"")),
    ("space in the name", &[b"ses sion=abc"], None),
    ("two words before =", &[b"a session=abc"], None),
    ("vertical tab is not trimmed", &[b"\x0bsession=abc"], None),
    ("form feed is not trimmed", &[b"session=abc\x0c"], None),
    ("no-break space is not trimmed", &[b"session=abc\xc2\xa0"], None),
    ("next line is not trimmed", &[b"\xc2\x85session=abc"], None),

    // quotes
    ("one pair removed", &[b"session=\"abc\""], Some(b"abc")),
    ("an empty pair", &[b"session=\"\""], Some(b"")),
    ("one pair only", &[b"session=\"\"abc\"\""], None),
    ("two pairs of nothing", &[b"session=\"\"\"\""], None),
    ("one lone quote", &[b"session=\""], None),
    ("three quotes", &[b"session=\"\"\""], None),
    ("opening quote only", &[b"session=\"abc"], None),
    ("closing quote only", &[b"session=abc\""], None),
    ("quote inside", &[b"session=a\"bc"], None),
    ("quotes inside", &[b"session=a\"b\"c"], None),
    ("space kept in quotes", &[b"session=\" abc \""], Some(b" abc ")),
    ("comma in quotes", &[b"session=\"a,b\""], Some(b"a,b")),
    ("= in quotes", &[b"session=\"a=b\""], Some(b"a=b")),
    ("; ends a quoted value", &[b"session=\"a;b\""], None),
    ("; begins another cookie even in quotes", &[b"other=\"a;session=b"], Some(b"b")),
    ("quote that closes behind ;", &[b"other=\"a;session=b\""], None),
    ("space before the quotes", &[b"session= \"abc\""], None),
    ("space behind the quotes trimmed", &[b"session=\"abc\" "], Some(b"abc")),
    ("text behind the quotes", &[b"session=\"abc\"x"], None),
    ("single quotes are text", &[b"session='abc'"], Some(b"'abc'")),
    ("quoted name", &[b"\"session\"=abc"], None),
    ("quoted pair", &[b"\"session=abc\""], None),

    // bytes
    ("lowest and highest", &[b"session=!~"], Some(b"!~")),
    ("percent is not decoded", &[b"session=a%20b"], Some(b"a%20b")),
    ("plus is not decoded", &[b"session=a+b"], Some(b"a+b")),
    ("backslash", &[b"session=a\\b"], None),
    ("backslash in quotes", &[b"session=\"a\\b\""], None),
    ("escaped quote", &[b"session=\"a\\\"b\""], None),
    ("DEL", &[b"session=a\x7fb"], None),
    ("NUL", &[b"session=a\0b"], None),
    ("escape", &[b"session=\x1b[m"], None),
    ("high byte", &[b"session=a\xffb"], None),
    ("UTF-8", &[b"session=\xc3\xa9"], None),
    ("NUL in the name", &[b"session\0=abc"], None),
    ("high byte in the name", &[b"s\xffession=abc"], None),
    ("high byte elsewhere", &[b"other=\xff; session=abc"], Some(b"abc")),

    // the name
    ("other case", &[b"Session=abc"], None),
    ("upper case", &[b"SESSION=abc"], None),
    ("prefixed", &[b"x_session=abc"], None),
    ("longer", &[b"session2=abc"], None),
    ("shorter", &[b"sessio=abc"], None),
    ("browser prefix", &[b"__Host-session=abc"], None),
    ("trailing dot", &[b"session.=abc"], None),
    ("bracket", &[b"session[]=abc"], None),
    ("percent-encoded", &[b"%73ession=abc"], None),
    ("Kelvin-like folding", &["\u{17f}ession=abc".as_bytes()], None),
    ("other case first", &[b"SESSION=x; Session=y; session=abc"], Some(b"abc")),
    ("sibling first", &[b"app_session=x; session=abc"], Some(b"abc")),

    // several of that name: the first acceptable one
    ("first wins", &[b"session=a; session=b"], Some(b"a")),
    ("an empty one wins too", &[b"session=; session=b"], Some(b"")),
    ("one without = wins too", &[b"session; session=b"], Some(b"")),
    ("invalid one is skipped", &[b"session=\\; session=b"], Some(b"b")),
    ("high byte is skipped", &[b"session=\xff; session=b"], Some(b"b")),
    ("lone quote is skipped", &[b"session=\"; session=b"], Some(b"b")),
    ("several invalid ones", &[b"session=\\; session=\x01; session=b; session=c"], Some(b"b")),
    ("all invalid", &[b"session=\\; session=\""], None),

    // several lines
    ("second line", &[b"other=x", b"session=abc"], Some(b"abc")),
    ("first line wins", &[b"session=a", b"session=b"], Some(b"a")),
    ("invalid in the first line", &[b"session=\\", b"session=b"], Some(b"b")),
    ("empty line first", &[b"", b"session=b"], Some(b"b")),
    ("lines are not joined", &[b"ses", b"sion=abc"], None),
    ("quotes do not span lines", &[b"session=\"a", b"b\"; session=c"], Some(b"c")),
];

/// The `Cookie` lines with the prefix `p_`, then app_session, app_access_token and session.
type PrefixedRow = (&'static [Bytes], [Option<Bytes>; 3]);

const READ_WITH_PREFIX: &[PrefixedRow] = &[
    (&[b"p_session=a"], [None, None, Some(b"a")]),
    (&[b"session=a"], [None, None, None]),
    (&[b"P_session=a"], [None, None, None]),
    (&[b"p_p_session=a"], [None, None, None]),
    (&[b"p_ session=a"], [None, None, None]),
    (
        &[b"app_session=a; p_app_session=b"],
        [Some(b"b"), None, None],
    ),
    (&[b"p_app_access_token=a"], [None, Some(b"a"), None]),
    (
        &[b"p_session=3; p_app_access_token=2", b"p_app_session=1"],
        [Some(b"1"), Some(b"2"), Some(b"3")],
    ),
];

/// The `Cookie` lines, and the value that is sent on.
#[rustfmt::skip]
const REBUILT: &[(&[Bytes], Bytes)] = &[
    (&[], b""),
    (&[b"other=x; PHPSESSID=secret"], b""),
    (&[b"session=\\"], b""),
    (&[b"session=abc"], b"session=abc"),
    (&[b"session"], b"session="),
    (&[b"session="], b"session="),
    (&[b" session\t=abc "], b"session=abc"),
    (&[b"a=b; session=abc; c=d"], b"session=abc"),
    (&[b"session=a; session=b"], b"session=a"),
    (&[b"session=\xff; session=b"], b"session=b"),
    (&[b"session=a,b"], b"session=a,b"),
    (&[b"session=a b"], b"session=a b"),
    (&[b"session=a=b"], b"session=a=b"),
    (&[b"session=\"abc\""], b"session=\"abc\""),
    (&[b"session=\"\""], b"session=\"\""),
    (&[b"session=\" a \""], b"session=\" a \""),
    (&[b"session= a"], b"session=\" a\""),
    (&[b"session=c; app_access_token=b; app_session=a"], b"app_session=a; app_access_token=b; session=c"),
    (&[b"session=c", b"x=y", b"app_session=\"a\""], b"app_session=\"a\"; session=c"),
];

fn read<'a>(names: &CookieNames, lines: &[&'a [u8]]) -> Credentials<'a> {
    Credentials::read(
        names,
        lines.iter().map(|&line| (b"Cookie".as_slice(), line)),
    )
}

fn values<'a>(credentials: &Credentials<'a>) -> [Option<&'a [u8]>; 3] {
    CookieKind::ALL.map(|kind| credentials.cookie(kind))
}

fn rebuild(names: &CookieNames, credentials: &Credentials) -> Vec<u8> {
    let mut header = Vec::new();
    credentials.write_cookie_header(names, &mut |piece| header.extend_from_slice(piece));
    header
}

fn shown(lines: &[&[u8]]) -> String {
    lines
        .iter()
        .map(|line| format!("Cookie: {}", line.escape_ascii()))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn every_line_is_read_as_go_reads_it() {
    let names = CookieNames::new(b"").unwrap();
    for &(why, lines, expected) in READ {
        let credentials = read(&names, lines);
        let found = credentials.cookie(CookieKind::Session);
        assert_eq!(found, expected, "{why}\n{}", shown(lines));
        assert_eq!(
            go::cookie(lines, b"session").as_deref(),
            expected,
            "the model: {why}"
        );

        let header = rebuild(&names, &credentials);
        let again = read(&names, &[&header]).cookie(CookieKind::Session);
        assert_eq!(again, expected, "{why}, sent as {}", header.escape_ascii());
    }
}

#[test]
fn a_prefix_belongs_to_every_name() {
    let names = CookieNames::new(b"p_").unwrap();
    for &(lines, expected) in READ_WITH_PREFIX {
        assert_eq!(values(&read(&names, lines)), expected, "{}", shown(lines));
    }
}

#[test]
fn only_authgears_cookies_are_sent_on() {
    let names = CookieNames::new(b"").unwrap();
    for &(lines, expected) in REBUILT {
        let header = rebuild(&names, &read(&names, lines));
        assert_eq!(header, expected, "{}", shown(lines));
    }
}

#[test]
fn names_are_sent_on_with_their_prefix() {
    let names = CookieNames::new(b"p_").unwrap();
    let credentials = read(&names, &[b"session=x; p_session=s; p_app_session=a"]);
    assert_eq!(
        rebuild(&names, &credentials),
        b"p_app_session=a; p_session=s"
    );
}

#[test]
fn more_than_3000_parts_are_not_read_at_all() {
    let names = CookieNames::new(b"").unwrap();
    let line = format!("session=a{}", ";".repeat(2999));
    let most: &[&[u8]] = &[line.as_bytes()];
    let too_many: &[&[u8]] = &[line.as_bytes(), b""];
    for (lines, expected) in [(most, Some(b"a".as_slice())), (too_many, None)] {
        let credentials = read(&names, lines);
        assert_eq!(credentials.cookie(CookieKind::Session), expected);
        assert_eq!(go::cookie(lines, b"session").as_deref(), expected);
    }
}

/// Go's rules once more, from `net/http`'s description and with other means than the crate's:
/// text of one character per byte, whole lists, no early end.
mod go {
    pub fn cookie(lines: &[&[u8]], name: &[u8]) -> Option<Vec<u8>> {
        let name = text(name);
        pairs(lines)
            .into_iter()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value.chars().map(|c| c as u8).collect())
    }

    pub fn pairs(lines: &[&[u8]]) -> Vec<(String, String)> {
        let lines: Vec<String> = lines.iter().map(|line| text(line)).collect();
        let parts: Vec<&str> = lines.iter().flat_map(|line| line.split(';')).collect();
        if parts.len() > 3000 {
            return Vec::new();
        }
        parts.into_iter().filter_map(pair).collect()
    }

    fn pair(part: &str) -> Option<(String, String)> {
        let part = part.trim_matches(SPACES);
        let (name, value) = match part.find('=') {
            Some(at) => (&part[..at], &part[at + '='.len_utf8()..]),
            None => (part, ""),
        };
        let name = name.trim_matches(SPACES);
        let is_token = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?={}".contains(c));
        let value = value
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(value);
        let is_value = value
            .chars()
            .all(|c| (' '..'\u{7f}').contains(&c) && !"\";\\".contains(c));
        (is_token && is_value).then(|| (name.to_owned(), value.to_owned()))
    }

    const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

    fn text(bytes: &[u8]) -> String {
        bytes.iter().map(|&byte| char::from(byte)).collect()
    }
}

/// Lines made of what matters to the reader, so that collisions are common.
fn cookie_line() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            b"session".as_slice(), b"app_session", b"app_access_token", b"Session", b"other",
        ]),
        4 => Just(b"=".as_slice()),
        4 => prop::sample::select(vec![b";".as_slice(), b"; "]),
        3 => prop::sample::select(vec![b" ".as_slice(), b"\t", b"\"", b",", b"\\", b"\"\""]),
        3 => prop::sample::select(vec![b"a".as_slice(), b"b.c", b"abc", b"=="]),
        1 => prop::sample::select(vec![
            b"\0".as_slice(), b"\r", b"\n", b"\x0b", b"\x7f", b"\x80", b"\xc2\xa0", b"\xff",
        ]),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn any_lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let line = prop_oneof![9 => cookie_line(), 1 => any::<Vec<u8>>()];
    prop::collection::vec(line, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_lines_are_read_as_go_reads_them(lines in any_lines()) {
        let names = CookieNames::new(b"").unwrap();
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        let credentials = read(&names, &lines);
        for kind in CookieKind::ALL {
            let expected = go::cookie(&lines, names.name(kind));
            prop_assert_eq!(credentials.cookie(kind), expected.as_deref());
        }
    }

    #[test]
    fn what_is_sent_on_is_read_the_same_again(lines in any_lines()) {
        let names = CookieNames::new(b"").unwrap();
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        let credentials = read(&names, &lines);
        let header = rebuild(&names, &credentials);

        let again = read(&names, &[&header]);
        prop_assert_eq!(values(&again), values(&credentials));
        prop_assert_eq!(rebuild(&names, &again), header.clone());
        for kind in CookieKind::ALL {
            let expected = go::cookie(&lines, names.name(kind));
            prop_assert_eq!(go::cookie(&[&header], names.name(kind)), expected);
        }

        // nothing but Authgear's cookies, each once, and nothing a proxy could object to
        let pairs = go::pairs(&[&header]);
        let found = values(&credentials).into_iter().flatten().count();
        prop_assert_eq!(pairs.len(), found);
        prop_assert!(pairs.iter().all(|(name, _)| names.is_authgear_cookie(name.as_bytes())));
        prop_assert!(header.iter().all(|byte| matches!(byte, b' '..=b'~')));
    }
}
