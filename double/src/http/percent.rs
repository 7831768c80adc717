//! Percent-encoding, and the form encoding on top of it.

/// Undoes percent-encoding; a `%` without two digits stays as it is.
pub(crate) fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// The decoded fields of a query or a form body, in order.
pub(crate) fn form_fields(text: &[u8]) -> Vec<(String, String)> {
    let plain = |part: &[u8]| {
        let spaced: Vec<u8> = part
            .iter()
            .map(|&byte| if byte == b'+' { b' ' } else { byte })
            .collect();
        super::text(&decode(&spaced))
    };
    text.split(|&byte| byte == b'&')
        .filter(|field| !field.is_empty())
        .map(|field| {
            let mark = field.iter().position(|&byte| byte == b'=');
            let (name, value) = field.split_at(mark.unwrap_or(field.len()));
            (
                plain(name),
                plain(value.strip_prefix(b"=").unwrap_or(value)),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded() {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            form_fields(b"a=1%2B2&b&c=x+y&&d=%zz%e9=%C3%A9"),
            [
                field("a", "1+2"),
                field("b", ""),
                field("c", "x y"),
                // Not UTF-8 as a whole, so each byte is a character.
                field("d", "%zz\u{e9}=\u{c3}\u{a9}"),
            ]
        );
    }
}
