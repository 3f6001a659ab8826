//! The digests and signatures that a host offers to its libraries: one implementation for the daemon, its worker
//! processes and the host for unit tests, so that a signature that passes in a test passes in production.
//!
//! Algorithms are the numbers of the ABI ([`hash`], [`signature`]). Invariant: nothing here panics, and no error holds
//! anything of a key or of what is signed.

use hmac::{Hmac, KeyInit, Mac, digest::Digest};
use md5::Md5;
use phone_verify_plugin_abi::{
    RawError,
    abi_stable::std_types::{RString, RVec},
    hash, kind, signature,
};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;

/// The digest of `data`.
///
/// # Errors
/// The hash is not known: of kind `UNSUPPORTED`.
pub fn digest(algorithm: u16, data: &[u8]) -> Result<RVec<u8>, RawError> {
    let digest = match algorithm {
        hash::MD5 => Md5::digest(data).to_vec(),
        hash::SHA1 => Sha1::digest(data).to_vec(),
        hash::SHA256 => Sha256::digest(data).to_vec(),
        hash::SHA512 => Sha512::digest(data).to_vec(),
        _ => return Err(unknown("hash", algorithm)),
    };
    Ok(RVec::from(digest))
}

/// HMAC (RFC 2104). A key may have any length.
///
/// # Errors
/// The hash is not known: of kind `UNSUPPORTED`.
pub fn hmac(algorithm: u16, key: &[u8], data: &[u8]) -> Result<RVec<u8>, RawError> {
    fn of<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
        let mut mac = <M as KeyInit>::new_from_slice(key).ok()?;
        mac.update(data);
        Some(mac.finalize().into_bytes().to_vec())
    }

    let mac = match algorithm {
        hash::MD5 => of::<Hmac<Md5>>(key, data),
        hash::SHA1 => of::<Hmac<Sha1>>(key, data),
        hash::SHA256 => of::<Hmac<Sha256>>(key, data),
        hash::SHA512 => of::<Hmac<Sha512>>(key, data),
        _ => None,
    };
    mac.map(RVec::from).ok_or_else(|| unknown("hash", algorithm))
}

/// Compares in a time that depends on the lengths alone.
pub fn equal(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// Signs `data` with a private key in PEM: for RS256 in PKCS#8 or PKCS#1, for ES256 in PKCS#8.
///
/// # Errors
/// The algorithm is not known: of kind `UNSUPPORTED`. The key is none, or one of another algorithm: of kind `CONFIG`,
/// since it comes from the options.
pub fn sign(algorithm: u16, key_pem: &str, data: &[u8]) -> Result<RVec<u8>, RawError> {
    let random = SystemRandom::new();
    let signed = match algorithm {
        signature::RS256 => rsa(key_pem).and_then(|key| {
            let mut signed = vec![0; key.public().modulus_len()];
            let made = key.sign(&RSA_PKCS1_SHA256, &random, data, &mut signed);
            made.map(|()| signed).map_err(|_| CANNOT_SIGN)
        }),
        signature::ES256 => ecdsa(key_pem, &random).and_then(|key| {
            let made = key.sign(&random, data);
            made.map(|signed| signed.as_ref().to_vec())
                .map_err(|_| CANNOT_SIGN)
        }),
        _ => return Err(unknown("signature", algorithm)),
    };
    signed
        .map(RVec::from)
        .map_err(|why| error(kind::CONFIG, "bad_key", why))
}

const CANNOT_SIGN: &str = "the private key cannot sign";
const NO_PEM: &str = "the private key is no PEM: it begins with -----BEGIN PRIVATE KEY----- and ends with -----END PRIVATE KEY-----";
const NO_RSA: &str = "RS256 needs an RSA key of 2048 to 4096 bits in PKCS#8 or PKCS#1, without a password";
const NO_ECDSA: &str = "ES256 needs a key of the curve P-256 in PKCS#8, without a password; openssl pkcs8 -topk8 -nocrypt makes one";

fn rsa(pem: &str) -> Result<RsaKeyPair, &'static str> {
    match PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| NO_PEM)? {
        PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
        _ => return Err(NO_RSA),
    }
    .map_err(|_| NO_RSA)
}

fn ecdsa(pem: &str, random: &SystemRandom) -> Result<EcdsaKeyPair, &'static str> {
    match PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| NO_PEM)? {
        PrivateKeyDer::Pkcs8(key) => {
            let key = key.secret_pkcs8_der();
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key, random).map_err(|_| NO_ECDSA)
        }
        _ => Err(NO_ECDSA),
    }
}

fn unknown(what: &str, algorithm: u16) -> RawError {
    let message = format!("this host knows no {what} with the number {algorithm}");
    error(kind::UNSUPPORTED, "unsupported", &message)
}

fn error(kind: u16, code: &str, message: &str) -> RawError {
    RawError {
        kind,
        http_status: 0,
        retry_after_ms: 0,
        code: RString::from(code),
        message: RString::from(message),
        flags: 0,
        ext: RVec::new(),
    }
}
