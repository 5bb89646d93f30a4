//! A key that signs: read from a PEM file, and written as the DNS record that others verify by.
//!
//! In: `PRIVATE KEY` (PKCS#8) or `RSA PRIVATE KEY` (PKCS#1), as `svar dkim new` and OpenSSL write them. A key is read once and shared.
//! RSA keys are of 2048 bits or more; less is refused, though RFC 8301 §3.2 lets 1024 pass.
//! Sources: RFC 6376 §3.6.1 (the record), RFC 8301, RFC 8463 §4 (Ed25519), RFC 5280 §4.1 (SubjectPublicKeyInfo); S-26, S-27.

use data_encoding::BASE64;
use ring::rand::SystemRandom;
use ring::rsa;
use ring::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

/// OID rsaEncryption with its NULL parameters, as DER.
const RSA_ENCRYPTION: [u8; 15] = [0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];

/// A key is no good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file holds no private key.
    #[error("holds no private key in PEM form")]
    NoKey,
    /// A key of another kind, damaged, or too short.
    #[error("holds a key that cannot sign mail ({0}); an RSA key of 2048 bits or an Ed25519 key will do")]
    Rejected(&'static str),
    /// The key was read and does not sign.
    #[error("holds a key that does not sign; its numbers do not belong together")]
    Unsigned,
    /// The system gave no chance for a new key.
    #[error("cannot be made: the system gave no randomness")]
    NoRandomness,
}

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// rsa-sha256, which everybody verifies.
    Rsa,
    /// ed25519-sha256, which few do yet.
    Ed25519,
}

impl Algorithm {
    /// The value of `a=`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa => "rsa-sha256",
            Self::Ed25519 => "ed25519-sha256",
        }
    }
}

/// A private key that has signed once, to see that it does. `Debug` shows nothing of it (S-221).
pub struct Key(Pair);

enum Pair {
    Rsa(Box<rsa::KeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.algorithm().name())
    }
}

impl Key {
    /// Reads a PEM file's text.
    ///
    /// # Errors
    /// [`Error`] completes the sentence "FILE …".
    pub fn parse(pem: &[u8]) -> Result<Self, Error> {
        let rejected = |error: ring::error::KeyRejected| Error::Rejected(why(&error));
        let pair = match PrivateKeyDer::from_pem_slice(pem).map_err(|_| Error::NoKey)? {
            PrivateKeyDer::Pkcs1(der) => Pair::Rsa(Box::new(rsa::KeyPair::from_der(der.secret_pkcs1_der()).map_err(rejected)?)),
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                match Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
                    Ok(pair) => Pair::Ed25519(Box::new(pair)),
                    Err(_) => Pair::Rsa(Box::new(rsa::KeyPair::from_pkcs8(der).map_err(rejected)?)),
                }
            }
            _ => return Err(Error::Rejected("it is neither RSA nor Ed25519")),
        };
        let key = Self(pair);
        key.sign(b"")?;
        Ok(key)
    }

    /// How it signs.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Pair::Rsa(_) => Algorithm::Rsa,
            Pair::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// Bits of an RSA key's modulus, or of an Ed25519 key.
    #[must_use]
    pub fn bits(&self) -> usize {
        match &self.0 {
            Pair::Rsa(pair) => pair.public().modulus_len() * 8,
            Pair::Ed25519(_) => 256,
        }
    }

    /// The value of the TXT record under `<selector>._domainkey.<domain>`.
    #[must_use]
    pub fn record(&self) -> String {
        match &self.0 {
            Pair::Rsa(pair) => {
                let mut bits = vec![0];
                bits.extend_from_slice(pair.public().as_ref());
                let info = der(0x30, &[&RSA_ENCRYPTION[..], &der(3, &bits)].concat());
                format!("v=DKIM1; k=rsa; p={}", BASE64.encode(&info))
            }
            Pair::Ed25519(pair) => format!("v=DKIM1; k=ed25519; p={}", BASE64.encode(pair.public_key().as_ref())),
        }
    }

    /// The signature over canonical octets. Ed25519 signs their SHA-256 (RFC 8463 §3).
    pub(super) fn sign(&self, octets: &[u8]) -> Result<Vec<u8>, Error> {
        match &self.0 {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                // the randomness blinds the computation and is not in what comes of it
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), octets, &mut signature).map_err(|_| Error::Unsigned)?;
                Ok(signature)
            }
            Pair::Ed25519(pair) => Ok(pair.sign(ring::digest::digest(&ring::digest::SHA256, octets).as_ref()).as_ref().to_vec()),
        }
    }
}

/// A new Ed25519 key as a PEM file's text.
///
/// # Errors
/// [`Error::NoRandomness`].
pub fn generate_ed25519() -> Result<String, Error> {
    let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| Error::NoRandomness)?;
    let base64 = BASE64.encode(der.as_ref());
    let lines: Vec<&str> = (0..base64.len()).step_by(64).map(|at| &base64[at..base64.len().min(at + 64)]).collect();
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n")))
}

/// ring's word for why it refuses a key, as a person says it.
fn why(error: &ring::error::KeyRejected) -> &'static str {
    match error.to_string().as_str() {
        "TooSmall" => "it is shorter than 2048 bits",
        "TooLarge" => "it is longer than 4096 bits",
        "WrongAlgorithm" => "it is neither RSA nor Ed25519",
        _ => "it is damaged",
    }
}

/// One DER value.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let octets = content.len().to_be_bytes();
    let length = &octets[octets.iter().position(|octet| *octet != 0).unwrap_or(octets.len() - 1)..];
    let mut out = vec![tag];
    if content.len() >= 128 {
        out.push(0x80 | u8::try_from(length.len()).unwrap_or_default());
    }
    out.extend_from_slice(length);
    out.extend_from_slice(content);
    out
}
