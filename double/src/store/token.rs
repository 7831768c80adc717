//! Access tokens: opaque ones, and JWTs that stand for one.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use serde_json::Value;

use super::now;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A JWT that the double takes for the access token `jti`, until `exp` (Unix seconds) if given.
///
/// Its signature is nonsense, and the double does not look at it.
pub fn jwt(jti: &str, exp: Option<i64>) -> String {
    let mut claims = serde_json::json!({ "jti": jti });
    if let Some(exp) = exp {
        claims["exp"] = exp.into();
    }
    format!(
        "{}.{}.{}",
        encode(br#"{"alg":"RS256","typ":"at+jwt"}"#),
        encode(claims.to_string().as_bytes()),
        encode(b"not a signature"),
    )
}

/// The opaque token that an access token stands for; none when it is a JWT that has expired.
pub(crate) fn decode_access_token(token: &str) -> Option<String> {
    let Some(claims) = claims(token) else {
        return Some(token.to_owned());
    };
    if claims["exp"]
        .as_f64()
        .is_some_and(|exp| exp <= now() as f64)
    {
        return None;
    }
    let jti = claims["jti"].as_str();
    Some(jti.unwrap_or(token).to_owned())
}

fn claims(token: &str) -> Option<Value> {
    if !token.starts_with("eyJ") {
        return None;
    }
    let mut parts = token.split('.');
    let claims = parts.nth(1)?;
    (parts.count() == 1).then_some(())?;
    serde_json::from_slice(&decode(claims)?).ok()
}

fn encode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| {
            bits << 8 | u32::from(group.get(at).copied().unwrap_or(0))
        });
        for at in 0..=group.len() {
            let sextet = bits >> (18 - 6 * at) & 0x3f;
            out.push(char::from(ALPHABET[sextet as usize]));
        }
    }
    out
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for byte in text.bytes() {
        let sextet = ALPHABET.iter().position(|&known| known == byte)?;
        bits = bits << 6 | sextet as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

/// 16 hexadecimal digits that nobody guesses in a demo.
pub(crate) fn random_hex() -> String {
    format!("{:016x}", RandomState::new().hash_one(now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_round_trips() {
        for length in 0..10 {
            let bytes: Vec<u8> = (0..length)
                .map(|at: u8| 0xf0 ^ at.wrapping_mul(37))
                .collect();
            assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }
        assert_eq!(encode(b"\xfb\xff"), "-_8");
        assert_eq!(decode("a+b"), None);
    }

    #[test]
    fn a_jwt_stands_for_its_jti_until_it_expires() {
        assert_eq!(decode_access_token("opaque").as_deref(), Some("opaque"));
        assert_eq!(decode_access_token(&jwt("t1", None)).as_deref(), Some("t1"));
        assert_eq!(
            decode_access_token(&jwt("t1", Some(now() + 60))).as_deref(),
            Some("t1")
        );
        assert_eq!(decode_access_token(&jwt("t1", Some(now() - 1))), None);
    }

    #[test]
    fn what_only_looks_like_a_jwt_is_opaque() {
        for token in ["eyJ", "eyJ.x", "eyJ.!.x", "eyJ.e30", "eyJ.e30.x.y"] {
            assert_eq!(decode_access_token(token).as_deref(), Some(token));
        }
        // Claims without a jti.
        assert_eq!(
            decode_access_token("eyJ.e30.x").as_deref(),
            Some("eyJ.e30.x")
        );
    }
}
