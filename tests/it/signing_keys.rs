//! Keys with which authors sign: with a password, as minisign makes them too.

use phone_verify_tests::site::{Ran, Site};
use serde_json::json;

fn refused(ran: &Ran, expected: &str) {
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains(expected), "{ran:?}");
}

#[test]
fn a_key_with_a_password_signs_with_that_password_alone() {
    let site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
    site.write("password", b"correct horse\n");
    site.write("other", b"battery staple\n");
    site.write("empty", b"\n");
    let keygen = |password: &str| {
        let key = ["plugin", "keygen", "--secret-key", "acme.key"];
        site.run(&[&key[..], &["--password-file", password]].concat())
    };
    refused(
        &keygen("empty"),
        "a key without a password is made with --no-password only",
    );
    let made = keygen("password");
    assert_eq!(made.code, Some(0), "{made:?}");

    let library = site.plugins().join("libnoop.so");
    let library = library.to_str().unwrap();
    let sign = |key: &str, password: &[&str]| {
        site.run(&[&["plugin", "sign", library, "--secret-key", key], password].concat())
    };
    refused(
        &sign("acme.key", &["--password-file", "other"]),
        "acme.key cannot be used as a secret key: Wrong password for that key",
    );
    refused(
        &sign("acme.key", &["--no-password"]),
        "the secret key acme.key has a password",
    );
    refused(
        &sign("acme.pub", &[]),
        "acme.pub is no secret key of minisign, or a damaged one",
    );
    let signed = sign("acme.key", &["--password-file", "password"]);
    assert_eq!(signed.code, Some(0), "{signed:?}");
    let verified = site.run(&["plugin", "verify", library, "--public-key", "acme.pub"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}
