//! Signatures of tokens, checked by *ring*: what `jsonwebtoken` asks of its cryptography.
//!
//! Public keys alone: a token that is signed with a shared secret, or not at all, is refused.

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind,
    crypto::{CryptoProvider, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
    signature::{self, Verifier},
};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};

/// The algorithms whose signatures are taken.
pub(super) const TAKEN: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

static RING: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Has tokens checked by *ring* from here on, in the whole process.
pub(super) fn use_ring() {
    // A program that embeds husk may have chosen before.
    let _ = RING.install_default();
}

/// A key with the way in which it is used.
struct Checks {
    algorithm: Algorithm,
    key: Key,
}

enum Key {
    Bytes(&'static dyn VerificationAlgorithm, Vec<u8>),
    Rsa(&'static RsaParameters, RsaPublicKeyComponents<Vec<u8>>),
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let unfit = || Error::from(ErrorKind::UnsupportedAlgorithm);
    if key.family() != family(*algorithm).ok_or_else(unfit)? {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    let key = match (key.kind(), bytes_of(*algorithm), rsa_of(*algorithm)) {
        (DecodingKeyKind::SecretOrDer(bytes), Some(way), _) => Key::Bytes(way, bytes.clone()),
        (DecodingKeyKind::RsaModulusExponent { n, e }, _, Some(way)) => {
            Key::Rsa(way, RsaPublicKeyComponents { n: n.clone(), e: e.clone() })
        }
        _ => return Err(unfit()),
    };
    Ok(Box::new(Checks { algorithm: *algorithm, key }))
}

fn family(algorithm: Algorithm) -> Option<jsonwebtoken::AlgorithmFamily> {
    use jsonwebtoken::AlgorithmFamily::{Ec, Ed, Rsa};
    [Rsa, Ec, Ed].into_iter().find(|family| family.algorithms().contains(&algorithm))
}

fn bytes_of(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    match algorithm {
        Algorithm::ES256 => Some(&ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Some(&ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Some(&ED25519),
        _ => None,
    }
}

fn rsa_of(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

impl Verifier<Vec<u8>> for Checks {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let checked = match &self.key {
            Key::Bytes(way, key) => UnparsedPublicKey::new(*way, key).verify(message, signature),
            Key::Rsa(way, key) => key.verify(way, message, signature),
        };
        checked.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Checks {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    use jsonwebtoken::jwk::Jwk;

    use super::*;

    /// RFC 7515, appendix A.2: RS256.
    const RSA_KEY: &str = r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#;
    const RSA_TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    /// RFC 7515, appendix A.3: ES256.
    const EC_KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    const EC_TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    /// RFC 8037, appendix A: EdDSA.
    const ED_KEY: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    const ED_TOKEN: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

    fn checks(algorithm: Algorithm, key: &str, token: &str) -> Result<bool, Error> {
        let jwk: Jwk = serde_json::from_str(key).unwrap();
        let key = DecodingKey::from_jwk(&jwk).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        Ok(verifier(&algorithm, &key)?.verify(message.as_bytes(), &signature).is_ok())
    }

    #[test]
    fn the_signatures_of_the_standards_hold_and_others_do_not() {
        for (algorithm, key, token) in [
            (Algorithm::RS256, RSA_KEY, RSA_TOKEN),
            (Algorithm::ES256, EC_KEY, EC_TOKEN),
            (Algorithm::EdDSA, ED_KEY, ED_TOKEN),
        ] {
            assert!(checks(algorithm, key, token).unwrap(), "{algorithm:?}");
            let other = token.replacen("eyJ", "eyK", 1);
            assert!(!checks(algorithm, key, &other).unwrap(), "{algorithm:?}");
        }
        assert!(!checks(Algorithm::RS512, RSA_KEY, RSA_TOKEN).unwrap());
        assert!(!checks(Algorithm::PS256, RSA_KEY, RSA_TOKEN).unwrap());
    }

    #[test]
    fn a_key_of_another_kind_is_not_used() {
        assert!(checks(Algorithm::ES256, RSA_KEY, RSA_TOKEN).is_err());
        assert!(checks(Algorithm::RS256, EC_KEY, EC_TOKEN).is_err());
        // The public key as a shared secret: what once opened many servers.
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            assert!(!TAKEN.contains(&algorithm));
            assert!(checks(algorithm, EC_KEY, EC_TOKEN).is_err());
            let shared = r#"{"kty":"oct","k":"c2VjcmV0"}"#;
            assert!(checks(algorithm, shared, EC_TOKEN).is_err());
        }
    }
}
