//! A private key for signing, and its public half for checking signatures.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use data_encoding::BASE64URL_NOPAD;

use super::base64;

/// An RSA key.
pub struct SigningKey {
    pair: KeyPair,
}

impl SigningKey {
    /// Makes a key.
    pub fn new() -> Self {
        Self {
            pair: KeyPair::generate(KeySize::Rsa2048).expect("a key"),
        }
    }

    /// PKCS#8 in PEM, in lines as OpenSSL writes them.
    pub fn pem(&self) -> String {
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> =
            self.pair.as_der().expect("it can be written");
        let text = base64(der.as_ref());
        let lines: Vec<_> = text
            .as_bytes()
            .chunks(64)
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            lines.join("\n")
        )
    }

    /// True if this key signed a JWT.
    pub fn has_signed(&self, jwt: &str) -> bool {
        let (signed, signature) = jwt.rsplit_once('.').unwrap_or_default();
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes());
        let key =
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.pair.public_key().as_ref());
        signature.is_ok_and(|signature| key.verify(signed.as_bytes(), &signature).is_ok())
    }

    /// Returns the claims of a JWT, after a check of the RS256 signature with the key.
    pub fn claims(&self, jwt: &str) -> serde_json::Value {
        let (signed, signature) = jwt.rsplit_once('.').expect("a JWT");
        let (header, claims) = signed.split_once('.').expect("a JWT");
        let decoded = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url");
        let key =
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, self.pair.public_key().as_ref());
        key.verify(signed.as_bytes(), &decoded(signature))
            .expect("its own signature");
        let header: serde_json::Value = serde_json::from_slice(&decoded(header)).expect("JSON");
        assert_eq!(
            (&header["alg"], &header["typ"]),
            (&"RS256".into(), &"JWT".into())
        );
        serde_json::from_slice(&decoded(claims)).expect("JSON")
    }
}
