//! Libraries that their authors signed: a new version needs no further word, and anything else is refused.

use std::{
    fs,
    path::{Path, PathBuf},
};

use phone_verify_tests::{
    artifacts,
    daemon::Daemon,
    site::{Ran, Site},
};
use serde_json::json;

use crate::loading::shelf::rewritten;

const EXCHANGED: &str = "the backend is exchanged";
const NOT_USED: &str = "the library in the plugin directory is not used";

/// Somebody who signs libraries, in a folder of an installation.
pub(crate) struct Author {
    key: PathBuf,
    /// The line for the settings.
    pub(crate) public_key: String,
}

impl Author {
    pub(crate) fn new(site: &Site, name: &str) -> Self {
        let key = site.path(&format!("{name}.key"));
        let made = site.run(&[
            "plugin",
            "keygen",
            "--secret-key",
            key.to_str().unwrap(),
            "--no-password",
            "--json",
        ]);
        assert_eq!(made.code, Some(0), "{made:?}");
        let public_key = made.json()["public_key"].as_str().unwrap().to_owned();
        Self { key, public_key }
    }

    /// Puts a signature beside a library.
    pub(crate) fn signs(&self, site: &Site, library: &Path) -> PathBuf {
        let arguments = ["plugin", "sign", library.to_str().unwrap(), "--secret-key"];
        let signed = site.run(&[&arguments[..], &[self.key.to_str().unwrap()]].concat());
        assert_eq!(signed.code, Some(0), "{signed:?}");
        beside(library)
    }
}

fn beside(library: &Path) -> PathBuf {
    let mut path = library.as_os_str().to_owned();
    path.push(".minisig");
    path.into()
}

/// The library in another version.
pub(crate) fn version(version: &str) -> Vec<u8> {
    rewritten(
        "noop",
        &format!("\"version\":\"{}\"", env!("CARGO_PKG_VERSION")),
        &format!("\"version\":\"{version}\""),
    )
}

/// An installation that takes what `names` signed, each a signer with its public key.
pub(crate) fn takes(site: &mut Site, signers: &[(&str, &Author)]) {
    let keys: toml::Table = signers
        .iter()
        .map(|(name, author)| ((*name).to_owned(), author.public_key.clone().into()))
        .collect();
    site.set("plugins", "trust", "signed");
    site.set("plugins", "signers", keys);
}

fn site() -> (Site, Author) {
    let mut site = Site::with_backend("noop.FixedCodeBackend", &json!({}));
    let author = Author::new(&site, "acme");
    takes(&mut site, &[("acme", &author)]);
    (site, author)
}

/// Puts a signed version there, the signature first.
fn release(site: &Site, author: &Author, bytes: &[u8]) {
    let new = site.write("libnoop.so", bytes);
    let signature = author.signs(site, &new);
    fs::rename(signature, beside(&site.plugins().join("libnoop.so"))).unwrap();
    site.upgrade("noop", bytes);
}

fn register(site: &Site) -> Ran {
    site.run(&["register", "+13478379634"])
}

/// The version in use, by the lock file.
fn in_use(site: &Site) -> String {
    let lock: toml::Table = fs::read_to_string(site.path("plugins.lock"))
        .unwrap()
        .parse()
        .unwrap();
    lock["libraries"]["noop"]["current"]["version"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn assert_refused(ran: &Ran, code: &str, why: &str) {
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(
        ran.stderr.contains(&format!("{code}: ")) && ran.stderr.contains(why),
        "{code} {why}: {ran:?}"
    );
}

#[test]
fn a_new_version_that_a_known_author_signed_needs_no_further_word() {
    let (site, author) = site();
    for (number, name) in ["1.0.0", "1.0.1"].into_iter().enumerate() {
        release(&site, &author, &version(name));
        let registered = register(&site);
        assert_eq!(registered.code, Some(0), "{number}: {registered:?}");
        assert_eq!(in_use(&site), name);
    }
    let listed = site.run(&["backends", "--json"]).json()["libraries"].clone();
    assert_eq!(listed[0]["signed_by"], "acme", "{listed:#}");
    assert!(site.run(&["backends"]).stdout.contains(", signed by acme"));
    assert_eq!(
        site.run(&["check", "--json"]).json()["isolation"],
        "worker",
        "signed is not trusted with the daemon"
    );
}

#[test]
fn what_nobody_known_signed_is_refused_and_no_word_helps() {
    let (mut site, author) = site();
    let library = site.plugins().join("libnoop.so");
    let stranger = Author::new(&site, "stranger");
    for signs in [None, Some(&stranger)] {
        let code = if let Some(stranger) = signs {
            stranger.signs(&site, &library);
            "P410"
        } else {
            "P409"
        };
        for arguments in [
            &["check"][..],
            &["register", "+13478379634"],
            &["plugin", "trust", "noop"],
        ] {
            assert_refused(&site.run(arguments), code, "libnoop.so is ");
        }
        assert!(
            site.run(&["backends"])
                .stdout
                .contains(&format!("cannot be loaded: {code}"))
        );
    }
    // Of two that are known, one may sign this library.
    takes(&mut site, &[("acme", &author), ("stranger", &stranger)]);
    assert_eq!(site.run(&["check"]).code, Some(0));
    let only: toml::Table = "[noop]\nsigners = [\"acme\"]".parse().unwrap();
    site.set("plugins", "libraries", only);
    assert_refused(&site.run(&["check"]), "P410", "takes it from acme only");
    author.signs(&site, &library);
    assert_eq!(site.run(&["check"]).code, Some(0));
}

#[test]
fn a_hash_in_the_settings_is_a_word_too() {
    let (mut site, _) = site();
    let refused = site.run(&["check"]);
    let hash = refused
        .stderr
        .split("sha256 = \"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let pin: toml::Table = format!("[noop]\nsha256 = \"{hash}\"").parse().unwrap();
    site.set("plugins", "libraries", pin);
    assert_eq!(site.run(&["check"]).code, Some(0));
}

#[test]
fn a_signature_is_no_good_for_other_bytes_and_another_name() {
    let (mut site, author) = site();
    let library = site.plugins().join("libnoop.so");
    let signature = author.signs(&site, &library);
    assert_eq!(site.run(&["check"]).code, Some(0));
    site.install_variant("noop", "changed");
    assert_refused(&site.run(&["check"]), "P412", "acme signed other bytes");

    // The very bytes, under another name.
    fs::copy(artifacts::library("noop"), site.plugins().join("libtwin.so")).unwrap();
    fs::rename(signature, beside(&site.plugins().join("libtwin.so"))).unwrap();
    site.set("phone_verification", "BACKEND", "twin.FixedCodeBackend");
    assert_refused(&site.run(&["check"]), "P412", "is for library noop, version");
}

#[test]
fn what_a_revoked_key_signed_is_not_used_any_more_wherever_it_lies() {
    let (mut site, old) = site();
    release(&site, &old, &version("1.0.0"));
    assert_eq!(register(&site).code, Some(0));
    // The keys are exchanged: for a while both are good.
    let new = Author::new(&site, "new");
    takes(&mut site, &[("acme", &old), ("acme-2027", &new)]);
    release(&site, &new, &version("1.0.1"));
    assert_eq!(register(&site).code, Some(0));
    let keys: toml::Table = format!(
        "acme = {{ public_key = \"{}\", revoked = true }}\nacme-2027 = \"{}\"",
        old.public_key, new.public_key
    )
    .parse()
    .unwrap();
    site.set("plugins", "signers", keys);
    assert_eq!(register(&site).code, Some(0));
    // Not the version before, from its private copy.
    assert_refused(
        &site.run(&["plugin", "rollback", "noop"]),
        "P411",
        "by acme, whose key",
    );
    release(&site, &old, &version("1.0.2"));
    assert_refused(&site.run(&["check"]), "P411", "by acme, whose key");
    assert_eq!(register(&site).code, Some(0));
    assert_eq!(in_use(&site), "1.0.1", "what serves is left alone");
    // Once both are, there is nothing to use.
    let keys: toml::Table = [("acme", &old), ("acme-2027", &new)]
        .into_iter()
        .map(|(name, author)| {
            format!(
                "{name} = {{ public_key = {:?}, revoked = true }}\n",
                author.public_key
            )
        })
        .collect::<String>()
        .parse()
        .unwrap();
    site.set("plugins", "signers", keys);
    assert_refused(&register(&site), "P411", "by acme, whose key");
}

#[test]
fn an_older_version_is_refused_unless_an_operator_says_so() {
    let (mut site, author) = site();
    release(&site, &author, &version("1.0.9"));
    assert_eq!(register(&site).code, Some(0));
    release(&site, &author, &version("1.0.8"));
    let refused = site.run(&["check"]);
    assert_refused(
        &refused,
        "P413",
        "has the version 1.0.8, and version 1.0.9 is in use",
    );
    assert_eq!(register(&site).code, Some(0));
    assert_eq!(in_use(&site), "1.0.9");
    let trusted = site.run(&["plugin", "trust", "noop"]);
    assert_eq!(trusted.code, Some(0), "{trusted:?}");
    assert_eq!(register(&site).code, Some(0));
    assert_eq!(in_use(&site), "1.0.8");

    // A least version holds whatever anybody says, and whatever the rule is.
    let least: toml::Table = "[noop]\nleast_version = \"1.0.9\"".parse().unwrap();
    site.set("plugins", "libraries", least);
    for trust in ["signed", "tofu", "any"] {
        site.set("plugins", "trust", trust);
        for arguments in [&["check"][..], &["plugin", "trust", "noop"]] {
            assert_refused(
                &site.run(arguments),
                "P413",
                "least_version in [plugins.libraries.noop] is 1.0.9",
            );
        }
    }
}

async fn signed_version(daemon: &Daemon) -> (String, String) {
    let listed = daemon.get("/v1/backends").await.body;
    let backend = &listed["backends"][0];
    let of = |name: &str| backend[name].as_str().unwrap_or_default().to_owned();
    (of("version"), of("signed_by"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_takes_up_a_version_whose_signature_comes_after_it_and_goes_back_on_a_word() {
    let (site, author) = site();
    release(&site, &author, &version("1.0.0"));
    let daemon = site.serve();
    assert_eq!(
        signed_version(&daemon).await,
        ("1.0.0".to_owned(), "acme".to_owned())
    );

    let bytes = version("1.0.1");
    let elsewhere = site.write("libnoop.so", &bytes);
    let signature = author.signs(&site, &elsewhere);
    site.upgrade("noop", &bytes);
    daemon.wait_for_logs(NOT_USED, 1);
    assert_eq!(signed_version(&daemon).await.0, "1.0.0");
    fs::rename(signature, beside(&site.plugins().join("libnoop.so"))).unwrap();
    daemon.wait_for_logs(EXCHANGED, 1);
    assert_eq!(
        signed_version(&daemon).await,
        ("1.0.1".to_owned(), "acme".to_owned())
    );

    assert_eq!(site.run(&["plugin", "rollback", "noop"]).code, Some(0));
    daemon.wait_for_logs(EXCHANGED, 2);
    assert_eq!(
        signed_version(&daemon).await,
        ("1.0.0".to_owned(), "acme".to_owned())
    );
    daemon.stop();
    // By the signature that it was taken with.
    let daemon = site.serve();
    assert_eq!(
        signed_version(&daemon).await,
        ("1.0.0".to_owned(), "acme".to_owned())
    );
}

#[test]
fn an_author_signs_and_verifies_and_loses_no_key() {
    let (site, author) = site();
    let other = Author::new(&site, "other");
    let library = site.plugins().join("libnoop.so");
    let file = library.to_str().unwrap();
    let verify = |key: &str| site.run(&["plugin", "verify", file, "--public-key", key]);
    assert_eq!(
        verify(&author.public_key).code,
        Some(1),
        "there is no signature yet"
    );
    author.signs(&site, &library);
    let verified = verify(&author.public_key);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(verified.stdout.contains("its signature is good"), "{verified:?}");
    assert_eq!(verify("acme.pub").code, Some(0), "a file of the key");
    assert_eq!(verify(&other.public_key).code, Some(1));
    assert_eq!(verify("nonsense").code, Some(2));

    let again = site.run(&["plugin", "keygen", "--secret-key", "acme.key", "--no-password"]);
    assert_eq!(again.code, Some(2));
    assert!(again.stderr.contains("a key is not overwritten"), "{again:?}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(site.path("acme.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let nothing = site.run(&["plugin", "sign", "phone-verify.toml", "--secret-key", "acme.key"]);
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.stderr.contains("is no shared library"), "{nothing:?}");
}

#[test]
fn a_slip_in_the_settings_of_signers_is_told() {
    let (mut site, author) = site();
    let key = &author.public_key;
    for (signers, libraries, expected) in [
        (
            "a = \"RW\"".to_owned(),
            "",
            "signers.a must be a public key of minisign",
        ),
        (
            format!("a = \"{key}\"\nb = \"{key}\""),
            "",
            "signers.b has the key of a",
        ),
        (
            "a = { revoked = true }".to_owned(),
            "",
            "signers.a needs a public_key",
        ),
        (
            format!("a = \"{key}\""),
            "[noop]\nsigners = [\"b\"]",
            "names b, which is not in [plugins.signers], where there are a",
        ),
        (
            format!("a = \"{key}\""),
            "[noop]\nleast_version = \"1\"",
            "must be a version such as 1.2.0, not 1",
        ),
    ] {
        site.set("plugins", "signers", signers.parse::<toml::Table>().unwrap());
        site.set("plugins", "libraries", libraries.parse::<toml::Table>().unwrap());
        let refused = site.run(&["check"]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(expected), "{expected}: {refused:?}");
    }
}
