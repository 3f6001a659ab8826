//! Who made a library: a detached signature by minisign, in a file beside it.
//!
//! The signature is over the bytes of the library. Its trusted comment, which is signed with it, says which library and
//! which version they are (`library:acme version:1.2.0`), so that a signature is no good for another library's name.
//!
//! Invariant: what is verified are the bytes that are staged and opened; a file is read once.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use data_encoding::BASE64;
use minisign_verify::{Error, PublicKey, Signature};
use semver::Version;

use crate::{
    files::{self, Subject},
    model::is_harmful,
    refusal::{Refusal, code},
};

/// Whose signatures are accepted, by the name that the settings give them.
pub type Signers = BTreeMap<String, Signer>;

/// A public key of minisign.
#[derive(Clone, Debug)]
pub struct Signer {
    key: PublicKey,
    id: KeyId,
    /// Whether nothing that it signed is used any more.
    pub is_revoked: bool,
}

/// What minisign calls a key by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; 8]);

/// A signature that holds.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    /// The name of the signer.
    pub(crate) by: String,
    /// The file, so that the private copy can be judged again.
    pub(crate) text: String,
}

/// The library that a signature is to be of.
pub(super) struct Subjected<'a> {
    /// Its file, for refusals.
    pub(super) file: &'a str,
    pub(super) library: &'a str,
    pub(super) version: &'a str,
    pub(super) bytes: &'a [u8],
}

/// What lies beside a library: `libacme.so.minisig`.
pub fn path_beside(library: &Path) -> PathBuf {
    let mut path = OsString::from(library);
    path.push(".minisig");
    PathBuf::from(path)
}

/// The trusted comment of a signature of this library. The first two parts are those of minisign itself.
pub(super) fn trusted_comment(file_name: &str, library: &str, version: &str, timestamp: u64) -> String {
    format!("timestamp:{timestamp}\tfile:{file_name}\thashed\tlibrary:{library}\tversion:{version}")
}

impl Signer {
    /// Of the line that begins with `RW` in a public key's file, or of the whole file.
    pub fn parse(text: &str) -> Option<Self> {
        let line = text
            .lines()
            .map(str::trim)
            .rfind(|line| !line.is_empty() && !line.starts_with("untrusted comment:"))?;
        Some(Self {
            key: PublicKey::from_base64(line).ok()?,
            id: KeyId::in_line(line)?,
            is_revoked: false,
        })
    }

    /// What minisign calls it by.
    pub fn id(&self) -> KeyId {
        self.id
    }
}

impl KeyId {
    /// Of a line of Base64: two bytes of the algorithm, then the id.
    fn in_line(line: &str) -> Option<Self> {
        let bytes = BASE64.decode(line.trim().as_bytes()).ok()?;
        Some(Self(bytes.get(2..10)?.try_into().ok()?))
    }
}

/// As minisign shows it.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", u64::from_le_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The signature beside a library; `None`: there is none.
pub(super) fn beside(library: &Path) -> Result<Option<String>, Refusal> {
    match files::read_text(&path_beside(library), Subject::Signature) {
        Ok(text) => Ok(Some(text)),
        Err(fault) if fault.is_missing() => Ok(None),
        Err(fault) => Err(Refusal::of_fault(code::WRONG_SIGNATURE, &fault)),
    }
}

/// Who of `signers` signed these bytes, under this name and version. `allowed`: those alone, if it says any.
pub(super) fn signer(
    of: &Subjected<'_>,
    text: &str,
    signers: &Signers,
    allowed: Option<&[String]>,
) -> Result<String, Refusal> {
    let Subjected { file, library, .. } = of;
    let (name, signer, signature) = verified(of, text, signers)?;
    if signer.is_revoked {
        return Err(Refusal::new(
            code::REVOKED_SIGNER,
            format!(
                "{file} is signed by {name}, whose key {} is revoked; have its author sign it with another key, and put that \
                 key into [plugins.signers]",
                signer.id
            ),
        ));
    }
    if let Some(allowed) = allowed
        && !allowed.iter().any(|known| known == name)
    {
        return Err(Refusal::new(
            code::UNKNOWN_SIGNER,
            format!(
                "{file} is signed by {name}, and [plugins.libraries.{library}] takes it from {} only; add {name} to signers \
                 there if that is right",
                crate::refusal::list(allowed)
            ),
        ));
    }
    check_comment(of, signature.trusted_comment())?;
    Ok(name.clone())
}

/// The one whose key fits, once the signature holds.
fn verified<'a>(
    of: &Subjected<'_>,
    text: &str,
    signers: &'a Signers,
) -> Result<(&'a String, &'a Signer, Signature), Refusal> {
    let file = of.file;
    let wrong = |why: String| Refusal::new(code::WRONG_SIGNATURE, why);
    let signature = Signature::decode(text).map_err(|_| {
        wrong(format!(
            "{file}.minisig is no signature of minisign; put the one there that came with the library"
        ))
    })?;
    let mut problem = None;
    for (name, signer) in signers {
        match signer.key.verify(of.bytes, &signature, false) {
            Ok(()) => return Ok((name, signer, signature)),
            Err(Error::UnexpectedKeyId) => {}
            Err(Error::UnexpectedAlgorithm) => {
                problem = Some(format!(
                    "{file}.minisig is a signature of the old kind, over the whole file and not its hash; sign it again with \
                     phone-verify plugin sign, or minisign 0.10 or later"
                ));
            }
            Err(_) => {
                problem = Some(format!(
                    "{file}.minisig does not fit: {name} signed other bytes, or library or signature was changed since; put \
                     both there as they came"
                ));
            }
        }
    }
    Err(problem.map_or_else(
        || {
            let id = text.lines().nth(1).and_then(KeyId::in_line);
            let id = id.map_or_else(String::new, |id| format!(" ({id})"));
            let known: Vec<String> = signers.keys().cloned().collect();
            let known = if known.is_empty() {
                "names none".to_owned()
            } else {
                format!("names {}", crate::refusal::list(&known))
            };
            Refusal::new(
                code::UNKNOWN_SIGNER,
                format!(
                    "{file} is signed with a key that is not known{id}: [plugins.signers] {known}; if you trust whoever signed \
                     it, put the public key there"
                ),
            )
        },
        wrong,
    ))
}

/// Whether the signature was made for this library and this version.
fn check_comment(of: &Subjected<'_>, comment: &str) -> Result<(), Refusal> {
    let said = |key: &str| {
        let mut values = comment
            .split_whitespace()
            .filter_map(|part| part.strip_prefix(key));
        // Said twice, it says nothing.
        values.next().filter(|_| values.next().is_none())
    };
    let (library, version) = (said("library:"), said("version:"));
    if (library, version) == (Some(of.library), Some(of.version)) {
        return Ok(());
    }
    let shown = |said: Option<&str>| -> String {
        let said: String = said.unwrap_or("none").chars().take(64).collect();
        said.replace(is_harmful, " ")
    };
    let advice = match library {
        // The name of a library is that of its file; what its author signed may only have been renamed.
        Some(signed) if version == Some(of.version) && signed != of.library => {
            "give the file the name of that library, or have its author sign it under this one"
        }
        _ => "have its author sign it with phone-verify plugin sign",
    };
    Err(Refusal::new(
        code::WRONG_SIGNATURE,
        format!(
            "{}.minisig is for library {}, version {}, and this is {}, version {}; {advice}",
            of.file,
            shown(library),
            shown(version),
            of.library,
            of.version
        ),
    ))
}

/// Refuses a version that is below another, or that cannot be told to be none.
pub(super) fn check_version(of: &Subjected<'_>, least: &Version, why: &str) -> Result<(), Refusal> {
    let Subjected { file, version, .. } = of;
    match Version::parse(version) {
        Ok(found) if found.cmp_precedence(least).is_lt() => Err(Refusal::new(
            code::VERSION_TOO_LOW,
            format!("{file} has the version {version}, and {why}"),
        )),
        Ok(_) => Ok(()),
        Err(_) => Err(Refusal::new(
            code::VERSION_TOO_LOW,
            format!(
                "{file} has the version {version:?}, which is not major.minor.patch, so that it cannot be told whether it is \
                 older than {least}; have its author correct it"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "/srv/plugins/libacme.so";

    struct Author(minisign::KeyPair);

    impl Author {
        fn new() -> Self {
            Self(minisign::KeyPair::generate_unencrypted_keypair().unwrap())
        }

        fn signs(&self, bytes: &[u8], comment: &str) -> String {
            let signature = minisign::sign(None, &self.0.sk, bytes, Some(comment), None);
            signature.unwrap().into_string()
        }

        fn signer(&self) -> Signer {
            Signer::parse(&self.0.pk.to_base64()).unwrap()
        }
    }

    fn acme(bytes: &[u8]) -> Subjected<'_> {
        Subjected {
            file: FILE,
            library: "acme",
            version: "1.2.0",
            bytes,
        }
    }

    fn comment() -> String {
        trusted_comment("libacme.so", "acme", "1.2.0", 1_764_306_000)
    }

    #[test]
    fn a_signature_is_of_one_library_one_version_and_these_bytes() {
        let author = Author::new();
        let signers = Signers::from([("acme".to_owned(), author.signer())]);
        let judged = |bytes: &[u8], text: &str| signer(&acme(bytes), text, &signers, None);
        let good = author.signs(b"library", &comment());
        assert_eq!(judged(b"library", &good).unwrap(), "acme");

        for (bytes, text, expected) in [
            (&b"librarY"[..], good.clone(), "signed other bytes"),
            (
                b"library",
                good.replace("library:acme", "library:evil"),
                "signed other bytes",
            ),
            (b"library", "nonsense".to_owned(), "is no signature of minisign"),
            (
                b"library",
                author.signs(b"library", "library:other version:1.2.0"),
                "is for library other, version 1.2.0, and this is acme, version 1.2.0; give the file the name of that library",
            ),
            (
                b"library",
                author.signs(b"library", "library:acme version:1.1.0"),
                "is for library acme, version 1.1.0, and this is",
            ),
            (
                b"library",
                author.signs(b"library", "library:acme version:1.2.0 library:other"),
                "is for library none",
            ),
            (
                b"library",
                author.signs(b"library", "timestamp:1"),
                "is for library none, version none",
            ),
        ] {
            let refusal = judged(bytes, &text).unwrap_err();
            assert_eq!(refusal.code, code::WRONG_SIGNATURE, "{refusal}");
            assert!(refusal.sentence.contains(expected), "{refusal}");
        }
    }

    #[test]
    fn the_signer_is_known_allowed_and_not_revoked() {
        let (author, other) = (Author::new(), Author::new());
        let text = author.signs(b"library", &comment());
        let mut signers = Signers::from([("other".to_owned(), other.signer())]);
        let refusal = signer(&acme(b"library"), &text, &signers, None).unwrap_err();
        assert_eq!(refusal.code, code::UNKNOWN_SIGNER);
        let id = author.signer().id().to_string();
        assert!(refusal.sentence.contains(&id), "{refusal}");

        signers.insert("acme".to_owned(), author.signer());
        let only = ["other".to_owned()];
        let refusal = signer(&acme(b"library"), &text, &signers, Some(&only)).unwrap_err();
        assert_eq!(refusal.code, code::UNKNOWN_SIGNER);
        assert!(refusal.sentence.contains("takes it from other only"), "{refusal}");

        signers.get_mut("acme").unwrap().is_revoked = true;
        let refusal = signer(&acme(b"library"), &text, &signers, None).unwrap_err();
        assert_eq!(refusal.code, code::REVOKED_SIGNER);
    }

    #[test]
    fn a_public_key_is_a_line_or_a_file() {
        let author = Author::new();
        let line = author.0.pk.to_base64();
        let file = author.0.pk.to_box().unwrap().to_string();
        let id = |text: &str| Signer::parse(text).map(|signer| signer.id());
        assert_eq!(id(&line), id(&file));
        assert!(file.contains(&id(&line).unwrap().to_string()), "{file}");
        for wrong in [
            "",
            "RW",
            "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1C",
            "untrusted comment: x\n",
        ] {
            assert_eq!(id(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn versions_are_compared_as_semantic_versions() {
        let least = Version::new(1, 10, 0);
        let below = |version| {
            let of = Subjected { version, ..acme(b"") };
            check_version(&of, &least, "1.10.0 is the least").is_err()
        };
        for (version, expected) in [
            ("1.9.9", true),
            ("1.10.0", false),
            ("1.10.0-rc.1", true),
            ("1.10.0+build", false),
            ("2.0.0", false),
            ("1.10", true),
            ("latest", true),
        ] {
            assert_eq!(below(version), expected, "{version}");
        }
    }
}
