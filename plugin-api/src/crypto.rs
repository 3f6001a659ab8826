//! Digests and signatures, as providers demand them: to sign requests, and to check those that come in.

use phone_verify_plugin_abi::{
    abi_stable::std_types::{RResult, RSlice, RStr, RVec},
    hash, signature,
};

use crate::{Error, Host, Secret};

/// A hash. MD5 and SHA-1 are for providers that demand them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HashAlgorithm {
    /// RFC 1321, 16 bytes.
    Md5,
    /// FIPS 180-4, 20 bytes.
    Sha1,
    /// FIPS 180-4, 32 bytes.
    Sha256,
    /// FIPS 180-4, 64 bytes.
    Sha512,
}

impl HashAlgorithm {
    fn to_raw(self) -> u16 {
        match self {
            Self::Md5 => hash::MD5,
            Self::Sha1 => hash::SHA1,
            Self::Sha256 => hash::SHA256,
            Self::Sha512 => hash::SHA512,
        }
    }
}

/// A signature, as RFC 7518 names it: with base64url it is the last part of a JWT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256. The key is RSA, in PKCS#8 or PKCS#1.
    Rs256,
    /// ECDSA with P-256 and SHA-256: two numbers of 32 bytes. The key is in PKCS#8.
    Es256,
}

/// Since ABI 1.1: on an older host they are errors of kind [`crate::ErrorKind::Unsupported`], but for `equal`, which
/// works everywhere.
impl Host {
    /// The digest of `data`.
    pub fn digest(&self, hash: HashAlgorithm, data: &[u8]) -> Result<Vec<u8>, Error> {
        bytes(self.raw().digest(hash.to_raw(), RSlice::from_slice(data)))
    }

    /// HMAC (RFC 2104) of `data`. The key may have any length.
    pub fn hmac(&self, hash: HashAlgorithm, key: &[u8], data: &[u8]) -> Result<Vec<u8>, Error> {
        let (key, data) = (RSlice::from_slice(key), RSlice::from_slice(data));
        bytes(self.raw().hmac(hash.to_raw(), key, data))
    }

    /// Whether two values are equal, in a time that depends on their lengths alone. For signatures and secrets: `==`
    /// takes longer the more of the beginning is right, which lets an attacker find the rest.
    pub fn equal(&self, left: impl AsRef<[u8]>, right: impl AsRef<[u8]>) -> bool {
        let (left, right) = (left.as_ref(), right.as_ref());
        self.raw()
            .equal(RSlice::from_slice(left), RSlice::from_slice(right))
    }

    /// Signs `data` with a private key in PEM (RFC 7468), usually a secret option.
    ///
    /// # Errors
    /// The key does not fit the algorithm: of kind [`crate::ErrorKind::Config`], with what is wrong.
    pub fn sign(
        &self,
        algorithm: SignatureAlgorithm,
        key_pem: &Secret,
        data: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let algorithm = match algorithm {
            SignatureAlgorithm::Rs256 => signature::RS256,
            SignatureAlgorithm::Es256 => signature::ES256,
        };
        let (key, data) = (RStr::from(key_pem.expose()), RSlice::from_slice(data));
        bytes(self.raw().sign(algorithm, key, data))
    }
}

fn bytes(answer: RResult<RVec<u8>, phone_verify_plugin_abi::RawError>) -> Result<Vec<u8>, Error> {
    answer.into_result().map(RVec::into_vec).map_err(Error::from_raw)
}
