//! The published vectors of each algorithm, and signatures that another implementation made or checks.

use data_encoding::{BASE64, HEXLOWER};
use phone_verify_plugin_abi::{hash, kind, signature};
use phone_verify_plugin_crypto::{digest, equal, hmac, sign};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

const RSA: &str = include_str!("keys/rsa.pem");
const RSA_PKCS1: &str = include_str!("keys/rsa-pkcs1.pem");
const P256: &str = include_str!("keys/p256.pem");
const P256_SEC1: &str = include_str!("keys/p256-sec1.pem");
/// The public part of [`P256`].
const P256_PUBLIC: &str = "04911206ee7a9b3dbdcc89b583e3004c3e0353ddb288171f883de63401185699f41513e74522bc9f611fad57c66f38d80f08\
    3db4eb1e84cfd0f26ea9c765673496";
/// `header.claims`, signed with [`RSA`] by OpenSSL.
const SIGNED: &str = "mM194xQWo59oqU8U7k7ObpXxyClE2vBT21mvZbDtmOMLyVYcxxlz8C0gUIVELoL57E+cQoD9iB5uWQuoDRP8rW1UMWF1benr2XjD\
    WUNM2n7h6Mb8gx7CmTgvsi0aUofagkFiwDv7b0gczg7l05MLbsP1k2pgFceqIBuwuxQRTjoPz0v6HwVujVRQozGYIaYrpafbpRqO\
    RT7UE54ahfiUTcM4VqR+vxl1q/vynEMEwdK4f/eRk4KCVKyQ7peENset8jppe3O4Y1iNL4YgJ9+Z5HcmHv9HSp2PsLJBahMXCoZ6\
    O/MQVDybq7AWmxdeqRd33lks3eFqkGpNmBma78gCoQ==";

/// RFC 1321 and FIPS 180-4.
#[test]
fn digests_are_those_of_their_standards() {
    for (algorithm, expected) in [
        (hash::MD5, "900150983cd24fb0d6963f7d28e17f72"),
        (hash::SHA1, "a9993e364706816aba3e25717850c26c9cd0d89d"),
        (
            hash::SHA256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        (
            hash::SHA512,
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
    ] {
        assert_eq!(HEXLOWER.encode(&digest(algorithm, b"abc").unwrap()), expected);
    }
}

/// RFC 2202 and RFC 4231, case 1.
#[test]
fn hmacs_are_those_of_their_standards() {
    for (algorithm, key_length, expected) in [
        (hash::MD5, 16, "9294727a3638bb1c13f48ef8158bfc9d"),
        (hash::SHA1, 20, "b617318655057264e28bc0b6fb378c8ef146be00"),
        (
            hash::SHA256,
            20,
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        ),
        (
            hash::SHA512,
            20,
            "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde\
             daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
        ),
    ] {
        let mac = hmac(algorithm, &vec![0x0b; key_length], b"Hi There").unwrap();
        assert_eq!(HEXLOWER.encode(&mac), expected);
        // Keys of any length: an empty one, and one that is hashed first.
        for length in [0, 1000] {
            assert_eq!(hmac(algorithm, &vec![1; length], b"").unwrap().len(), mac.len());
        }
    }
}

#[test]
fn only_what_is_the_same_is_equal() {
    for (left, right, expected) in [
        ("", "", true),
        ("abc", "abc", true),
        ("abc", "abd", false),
        ("abc", "abcd", false),
        ("", "a", false),
    ] {
        assert_eq!(equal(left.as_bytes(), right.as_bytes()), expected);
    }
}

#[test]
fn an_rsa_key_signs_as_another_implementation_does() {
    for key in [RSA, RSA_PKCS1] {
        let signed = sign(signature::RS256, key, b"header.claims").unwrap();
        assert_eq!(BASE64.encode(&signed), SIGNED);
    }
}

#[test]
fn what_an_ecdsa_key_signed_is_found_right() {
    let signed = sign(signature::ES256, P256, b"header.claims").unwrap();
    assert_eq!(signed.len(), 64);
    let public = HEXLOWER.decode(P256_PUBLIC.as_bytes()).unwrap();
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public);
    assert!(public.verify(b"header.claims", &signed).is_ok());
    assert!(public.verify(b"header.claimS", &signed).is_err());
}

#[test]
fn a_key_that_does_not_fit_is_refused_by_what_is_needed_and_not_shown() {
    for (algorithm, key, needed) in [
        (signature::RS256, P256, "RS256 needs an RSA key"),
        (signature::RS256, P256_SEC1, "RS256 needs an RSA key"),
        (signature::ES256, RSA, "ES256 needs a key of the curve P-256"),
        (
            signature::ES256,
            RSA_PKCS1,
            "ES256 needs a key of the curve P-256",
        ),
        (signature::ES256, P256_SEC1, "openssl pkcs8 -topk8"),
        (signature::RS256, "s3cret", "the private key is no PEM"),
        (signature::ES256, "", "the private key is no PEM"),
        (
            signature::RS256,
            "-----BEGIN PRIVATE KEY-----\nczNjcmV0\n-----END PRIVATE KEY-----\n",
            "RS256 needs",
        ),
    ] {
        let error = sign(algorithm, key, b"x").unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (kind::CONFIG, "bad_key"));
        assert!(error.message.contains(needed), "{}", error.message);
        assert!(!error.message.contains("s3cret"));
    }
}

#[test]
fn an_algorithm_of_a_later_version_is_unsupported() {
    for error in [
        digest(99, b"").unwrap_err(),
        hmac(0, b"", b"").unwrap_err(),
        sign(99, RSA, b"").unwrap_err(),
    ] {
        assert_eq!(error.kind, kind::UNSUPPORTED, "{}", error.message);
    }
}
