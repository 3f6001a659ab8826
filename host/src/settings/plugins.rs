//! `[plugins]`: where libraries of backends are found, which of them are trusted, and which run in a process of their
//! own.
//!
//! This file only reads the rules. The plugin host (`phone_verify_plugin_host`) applies them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    document::{Entry, Value},
    reader::{Reader, Section, flag, path, text, texts},
};
use phone_verify_plugin_host::{
    Isolation, IsolationRules, LibraryIsolation, LibraryTrust, Signer, Signers, Trust, TrustRules,
};
use semver::Version;

const SHA256_HEX_DIGITS: usize = 64;

/// The settings of libraries.
#[derive(Clone, Debug)]
pub struct Plugins {
    /// The directories that are searched for libraries, in this order.
    pub directories: Vec<PathBuf>,
    /// Where copies of the libraries in use are kept, and of the versions before them for `plugin rollback`.
    pub staging_directory: PathBuf,
    /// Where the reports of crashed worker processes are kept.
    pub crash_directory: PathBuf,
    /// Whether backends may call private and loopback addresses other than the one in their option `BASE_URL`.
    pub allow_private_addresses: bool,
    /// Which libraries run in a process of their own.
    pub isolation: IsolationRules,
    /// Which libraries may be loaded at all.
    pub trust: TrustRules,
}

impl Plugins {
    /// Reads the section. Paths that are not set default to places next to the database: that folder survives a restart
    /// and is writable for the daemon.
    pub(super) fn read(reader: &mut Reader, database: &Path) -> Self {
        let mut section = reader.section("plugins", false);
        let folder = section.folder();
        let directories = section.get("directories", |value| match texts(value)? {
            list if list.is_empty() => Err("must name at least one directory".into()),
            list => Ok(list.iter().map(|directory| folder.join(directory)).collect()),
        });
        let staging_directory = section.get("staging_directory", |value| Ok(path(&folder, &text(value)?)));
        let crash_directory = section.get("crash_directory", |value| Ok(path(&folder, &text(value)?)));
        let allow_private_addresses = section.get("allow_private_addresses", flag);
        let mode = section.get("trust", trust);
        let lock_file = section.get("lock_file", |value| Ok(path(&folder, &text(value)?)));
        let default = section.get("isolation", isolation);
        // Signers come before libraries, whose rules name them.
        let signers = signers(&mut section);
        let rows = section.table("libraries", false, "plugins.libraries");
        let mut isolated = BTreeMap::new();
        let mut trusted = BTreeMap::new();
        for row in rows {
            let name = row.key.clone();
            let (isolation, trust) = library(&mut section, row, &signers);
            isolated.insert(name.clone(), isolation);
            trusted.insert(name, trust);
        }
        section.finish();
        let beside = |name: &str| database.with_file_name(name);
        let crash_directory = crash_directory.unwrap_or_else(|| beside("plugins.crashes"));
        let trust = TrustRules {
            mode,
            lock_file: Some(lock_file.unwrap_or_else(|| beside("plugins.lock"))),
            signers,
            libraries: trusted,
        };
        Self {
            directories,
            staging_directory: staging_directory.unwrap_or_else(|| beside("plugins.staged")),
            crash_directory: crash_directory.clone(),
            allow_private_addresses,
            isolation: IsolationRules {
                crashes: Some(crash_directory),
                default,
                libraries: isolated,
                ..IsolationRules::default()
            },
            trust,
        }
    }
}

/// Reads `[plugins.signers]`. A row is a name with a public key, or with a table of `public_key` and `revoked`.
fn signers(section: &mut Section<'_>) -> Signers {
    let rows = section.table("signers", false, "plugins.signers");
    let mut signers = Signers::new();
    let mut shown = Vec::new();
    for row in rows {
        let read = match &row.value {
            Value::Table(entries) => revocable(entries),
            value => public_key(value),
        };
        // One key under two names would make a revocation useless: the other name would still be trusted.
        let twin = |signer: &Signer| {
            let mut known = signers.iter();
            known.find_map(|(name, known)| (known.id() == signer.id()).then(|| name.clone()))
        };
        match read.and_then(|signer| match twin(&signer) {
            Some(name) => Err(format!("has the key of {name}; keep one of the two")),
            None => Ok(signer),
        }) {
            Ok(signer) => {
                shown.push((row.key.clone(), row.value.to_toml()));
                signers.insert(row.key, signer);
            }
            Err(needed) => {
                let message = format!("signers.{} {needed}", row.key);
                section.problem("signers", Some(row.line), &message);
            }
        }
    }
    if !shown.is_empty() {
        section.show_table("plugins.signers", &shown);
    }
    signers
}

fn revocable(entries: &[Entry]) -> Result<Signer, String> {
    let mut signer = Err("needs a public_key".to_owned());
    let mut is_revoked = false;
    for entry in entries {
        match entry.key.as_str() {
            "public_key" => signer = public_key(&entry.value),
            "revoked" => is_revoked = flag(&entry.value)?,
            other => return Err(format!("has no {other}; there are public_key and revoked")),
        }
    }
    signer.map(|mut signer| {
        signer.is_revoked = is_revoked;
        signer
    })
}

fn public_key(value: &Value) -> Result<Signer, String> {
    Signer::parse(&text(value)?).ok_or_else(|| {
        "must be a public key of minisign: the line of its file that begins with RW".to_owned()
    })
}

/// Reads `[plugins.libraries.<name>]`: the rules for one library.
fn library(section: &mut Section<'_>, row: Entry, signers: &Signers) -> (LibraryIsolation, LibraryTrust) {
    let (mut place, mut trust) = (LibraryIsolation::default(), LibraryTrust::default());
    let Value::Table(entries) = row.value else {
        let message = format!("libraries.{} must be a table, not {}", row.key, row.value.kind());
        section.problem("libraries", Some(row.line), &message);
        return (place, trust);
    };
    let mut shown = Vec::new();
    // A signer whose key is faulty is missing from `signers`, but is in the file: do not report its name as unknown.
    let known_signers = section.are_known(&["signers"]).then_some(signers);
    for entry in entries {
        let value = &entry.value;
        let read = match entry.key.as_str() {
            "isolation" => isolation(value).map(|value| place.isolation = Some(value)),
            "sha256" => sha256(value).map(|value| {
                place.sha256 = Some(value.clone());
                trust.sha256 = Some(value);
            }),
            "least_version" => version(value).map(|value| trust.least_version = Some(value)),
            "signers" => names(value, known_signers).map(|value| trust.signers = Some(value)),
            _ => Err("is not a setting; there are isolation, sha256, least_version and signers".to_owned()),
        };
        match read {
            Ok(()) => shown.push((entry.key, entry.value.to_toml())),
            Err(needed) => {
                let message = format!("libraries.{}.{} {needed}", row.key, entry.key);
                section.problem("libraries", Some(entry.line), &message);
            }
        }
    }
    section.show_table(&format!("plugins.libraries.{}", row.key), &shown);
    (place, trust)
}

fn version(value: &Value) -> Result<Version, String> {
    let text = text(value)?;
    Version::parse(&text).map_err(|_| format!("must be a version such as 1.2.0, not {text}"))
}

/// Reads a list of names of `[plugins.signers]`. With `None` the signers are in doubt, so the names are not checked.
fn names(value: &Value, signers: Option<&Signers>) -> Result<Vec<String>, String> {
    let names = texts(value)?;
    let Some(signers) = signers else {
        return Ok(names);
    };
    match names.iter().find(|name| !signers.contains_key(*name)) {
        None if names.is_empty() => Err("must name at least one of [plugins.signers]".to_owned()),
        None => Ok(names),
        Some(unknown) => {
            let known: Vec<&str> = signers.keys().map(String::as_str).collect();
            let known = if known.is_empty() {
                "which is empty".to_owned()
            } else {
                format!("where there are {}", known.join(", "))
            };
            Err(format!(
                "names {unknown}, which is not in [plugins.signers], {known}"
            ))
        }
    }
}

fn trust(value: &Value) -> Result<Trust, String> {
    let name = text(value)?;
    Trust::NAMES
        .into_iter()
        .find(|(known, _)| *known == name)
        .map(|(_, trust)| trust)
        .ok_or_else(|| format!("must be any, tofu, signed or pinned, not {name}"))
}

fn isolation(value: &Value) -> Result<Isolation, String> {
    let name = text(value)?;
    Isolation::NAMES
        .into_iter()
        .find(|(known, _)| *known == name)
        .map(|(_, isolation)| isolation)
        .ok_or_else(|| format!("must be auto, inline or worker, not {name}"))
}

fn sha256(value: &Value) -> Result<String, String> {
    let hash = text(value)?.to_lowercase();
    let is_hash = hash.len() == SHA256_HEX_DIGITS && hash.chars().all(|digit| digit.is_ascii_hexdigit());
    is_hash
        .then_some(hash)
        .ok_or_else(|| "must be the 64 hexadecimal digits that `phone-verify backends` shows".to_owned())
}
