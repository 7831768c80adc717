//! When a bearer token that is a JWT expires.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use serde_json::Value;

/// The `exp` of a JWT (RFC 7519, 4.1.4) in Unix seconds, a fraction cut off.
///
/// As Authgear does, takes a token that begins with `eyJ` (a JSON object in base64url) for a JWT.
/// `None` if it has not the three parts of a signed one (RFC 7515, 3.1), cannot be read, or has no
/// `exp`. No signature is checked: this may only ever shorten how long an answer is used.
pub fn jwt_expiry(token: &[u8]) -> Option<i64> {
    if !token.starts_with(b"eyJ") {
        return None;
    }
    let mut parts = token.split(|&byte| byte == b'.');
    let (_header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let exp = claims.get("exp")?;
    exp.as_i64()
        .or_else(|| exp.as_f64().map(|seconds| seconds.floor() as i64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn jwt(claims: &str) -> String {
        let claims = URL_SAFE_NO_PAD.encode(claims);
        format!("eyJhbGciOiJSUzI1NiJ9.{claims}.c2lnbmF0dXJl")
    }

    #[test]
    fn exp_is_read_from_the_claims() {
        for (claims, exp) in [
            (r#"{"exp":1700000000}"#, Some(1_700_000_000)),
            (r#"{"sub":"a","jti":"b","exp":1}"#, Some(1)),
            (r#"{"exp":0}"#, Some(0)),
            (r#"{"exp":-5}"#, Some(-5)),
            (r#"{"exp":1700000000.9}"#, Some(1_700_000_000)),
            (r#"{"exp":-1.5}"#, Some(-2)),
            (r#"{"exp":1.7e9}"#, Some(1_700_000_000)),
            (r#"{"exp":18446744073709551615}"#, Some(i64::MAX)),
            (r#"{"exp":1e300}"#, Some(i64::MAX)),
            (r#"{"exp":1,"exp":2}"#, Some(2)),
            (r#"{"exp":1e999}"#, None),
            (r#"{"exp":"1700000000"}"#, None),
            (r#"{"exp":null}"#, None),
            (r#"{"exp":[1]}"#, None),
            (r#"{"EXP":1}"#, None),
            (r#"{"a":{"exp":1}}"#, None),
            (r#"{}"#, None),
            (r#"["exp"]"#, None),
            (r#""exp""#, None),
            (r#"{"exp":1"#, None),
            (r#"{"exp":1} x"#, None),
            ("", None),
        ] {
            assert_eq!(jwt_expiry(jwt(claims).as_bytes()), exp, "{claims}");
        }
    }

    #[test]
    fn other_tokens_have_no_expiry() {
        let good = jwt(r#"{"exp":1}"#);
        assert_eq!(jwt_expiry(good.as_bytes()), Some(1));
        let two_parts = good.rsplit_once('.').unwrap().0;
        for token in [
            String::new(),
            "eyJ".into(),
            "eyJ..".into(),
            "opaque".into(),
            format!(" {good}"),
            format!("{good}."),
            format!("{good}.x"),
            two_parts.into(),
            good.replacen("eyJ", "EYJ", 1),
            good.replace(".ey", ".=ey"),
            good.replace(".ey", ".+y"),
        ] {
            assert_eq!(jwt_expiry(token.as_bytes()), None, "{token}");
        }
    }

    #[test]
    fn deep_claims_do_not_exhaust_the_stack() {
        assert_eq!(jwt_expiry(jwt(&"[".repeat(100_000)).as_bytes()), None);
    }

    proptest! {
        #[test]
        fn any_token_is_survived(tail in any::<Vec<u8>>()) {
            jwt_expiry(&[b"eyJ.".as_slice(), &tail].concat());
        }

        #[test]
        fn any_claims_are_survived(claims in "\\PC*") {
            jwt_expiry(jwt(&claims).as_bytes());
        }
    }
}
