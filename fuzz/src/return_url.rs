//! `$authgear_return_url` of an arbitrary request, against the percent-encoding crate.

use authgear_session::return_url::ReturnUrl;
use percent_encoding::{percent_decode, percent_encode, AsciiSet, CONTROLS, NON_ALPHANUMERIC};

use crate::cut;

const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const NOT_IN_A_URL: &AsciiSet = &CONTROLS.add(b' ');

/// `SCHEME NL HOST NL TARGET`
pub fn run(input: &[u8]) {
    let (scheme, rest) = cut(input, b'\n');
    let (host, target) = cut(rest, b'\n');
    let Some(url) = ReturnUrl::new(scheme, host, target) else {
        return;
    };
    let mut encoded = Vec::new();
    url.encode(&mut encoded);
    assert_eq!(url.encoded_len(), encoded.len());
    let mut exact = vec![0; encoded.len()];
    assert!(url.encode_into(&mut exact));
    assert_eq!(exact, encoded);

    // Only this server, however a browser reads it.
    assert!(matches!(scheme, b"http" | b"https"));
    assert!(!host.is_empty());
    let is_host = |b: &u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(b);
    assert!(host.iter().all(is_host), "{}", host.escape_ascii());

    let mut plain = [scheme, b"://", host].concat();
    if target.first() != Some(&b'/') {
        plain.push(b'/');
    }
    for &byte in target {
        match byte {
            0x80.. => plain.push(byte),
            _ => plain.extend(percent_encode(&[byte], NOT_IN_A_URL).to_string().bytes()),
        }
    }
    let expected = percent_encode(&plain, RESERVED).to_string();
    assert_eq!(String::from_utf8_lossy(&encoded), expected);
    assert_eq!(percent_decode(&encoded).collect::<Vec<u8>>(), plain);
}
