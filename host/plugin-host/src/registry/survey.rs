//! What lies in the plugin directories, read without running any of it.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use phone_verify_plugin_abi::overrides;
use serde::Serialize;
use serde_json::Value;

use super::{Loader, VersionReport};
use crate::{
    discover::{self, Found},
    isolation::IsolationMode,
    model::quantity,
    preflight::{self, BackendInfo, Candidate, Manifest, OptionInfo, Platform, Refused},
    refusal::Refusal,
    trust::Lock,
};

/// One library in a plugin directory, or a directory that cannot be read.
#[derive(Clone, Debug, Serialize)]
pub struct LibraryReport {
    /// The file, or the directory.
    pub path: PathBuf,
    /// `nexmo`; empty for a directory.
    pub library: String,
    /// Whether it would be opened.
    pub is_loadable: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// The size of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// The hash of the file, in lower-case hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Who signed it, by the name in the settings, where signatures count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<String>,
    /// The version that a daemon uses instead of the one that lies there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_use: Option<VersionReport>,
    /// Why a daemon that tried the one that lies there does not use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed_over: Option<String>,
    /// Whether its code would run in this process or in one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<IsolationMode>,
    /// What it says about itself.
    #[serde(flatten)]
    pub about: Option<LibraryAbout>,
    /// Why it would not be opened in the daemon's own process, where it could be in another.
    #[serde(skip)]
    pub inline_refusal: Option<Refusal>,
    /// The sanitizer that it was built with.
    #[serde(skip)]
    pub sanitizer: Option<&'static str>,
}

/// What a library says about itself.
#[derive(Clone, Debug, Serialize)]
pub struct LibraryAbout {
    /// Its own version.
    pub version: String,
    /// Its licence.
    pub license: String,
    /// Where its source is.
    pub repository: String,
    /// The version of the ABI that it speaks: `1.0`.
    pub abi: String,
    /// The version of the author's crate that it was built with; empty: the C header.
    pub plugin_api: String,
    /// The backends that it exports.
    pub backends: Vec<BackendReport>,
    /// What is to be said of its version of the ABI, and of keys in its manifest that are not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What is to be said of its version of the ABI alone.
    #[serde(skip)]
    pub newer_abi: Option<String>,
    /// What is to be said of its keys alone.
    #[serde(skip)]
    pub unknown_keys: Vec<String>,
    /// The name that it was built under; empty: it does not say.
    #[serde(skip)]
    pub built_as: String,
    /// The tape that it carries, the text of a TOML file.
    #[serde(skip)]
    pub tape: Option<String>,
}

impl LibraryAbout {
    /// Whether it was built with the author's crate, and not with the C header.
    pub fn is_rust(&self) -> bool {
        !self.plugin_api.is_empty()
    }

    /// What gave it the ABI: the author's crate with its version, or the C header.
    pub fn built_with(&self) -> String {
        match self.plugin_api.as_str() {
            "" => "phone_verify_plugin.h".to_owned(),
            version => format!("phone-verify-plugin-api {version}"),
        }
    }
}

/// One backend of a library.
#[derive(Clone, Debug, Serialize)]
pub struct BackendReport {
    /// `nexmo.NexmoBackend`: what `BACKEND` would be.
    pub name: String,
    /// One sentence.
    pub summary: String,
    /// Whether it is for tests and tutorials.
    pub sandbox: bool,
    /// The methods that it overrides, beside `send_sms`.
    pub overrides: Vec<&'static str>,
    /// The hosts that it calls.
    pub hosts: Vec<String>,
    /// Who makes sure that a request at the address for its reports is the provider's: `signed`, the library; `secret`,
    /// the host, by a secret in the address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub webhook: String,
    /// Who says that a message is delivered: `carrier` or `handset`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub receipts: String,
    /// How its messages can go; empty: as SMS.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// Whether its provider makes and checks the codes.
    #[serde(skip_serializing_if = "is_false")]
    pub owns_code: bool,
    /// Whether it is told the code beside the text.
    #[serde(skip_serializing_if = "is_false")]
    pub wants_code: bool,
    /// The options that it takes.
    pub options: Vec<OptionInfo>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl LibraryReport {
    /// What one file holds, wherever it lies; `None` if it is not named as a library of any system. One that is named
    /// as a library of another system is refused: as what it is, or for its name.
    pub fn of_file(path: &Path) -> Option<Self> {
        let platform = Platform::here();
        let (found, judged) = if let Some(found) = discover::file(path) {
            let judged = preflight::check(&found, &platform);
            (found, judged)
        } else {
            let (found, refusal) = discover::misnamed(path)?;
            let judged = preflight::check(&found, &platform).and_then(|candidate| {
                Err(Refused {
                    refusal,
                    size_bytes: Some(candidate.bytes.len() as u64),
                    sha256: Some(candidate.sha256),
                })
            });
            (found, judged)
        };
        Some(Self::of(found, judged, |_, _| None))
    }

    pub(super) fn of(
        found: Found,
        judged: Result<Candidate, Refused>,
        place: impl FnOnce(&Found, &str) -> Option<IsolationMode>,
    ) -> Self {
        match judged {
            Ok(candidate) => Self {
                inline_refusal: candidate.linkage.check_inline(&candidate.file, false).err(),
                sanitizer: candidate.linkage.sanitizer(),
                isolation: place(&found, &candidate.sha256),
                about: Some(about(&found.stem, candidate.manifest)),
                path: found.path,
                library: found.stem,
                is_loadable: true,
                refusal: None,
                size_bytes: Some(candidate.bytes.len() as u64),
                sha256: Some(candidate.sha256),
                signed_by: candidate.signed.map(|signed| signed.by),
                in_use: None,
                passed_over: None,
            },
            Err(refused) => Self {
                path: found.path,
                library: found.stem,
                is_loadable: false,
                refusal: Some(refused.refusal),
                size_bytes: refused.size_bytes,
                sha256: refused.sha256,
                signed_by: None,
                in_use: None,
                passed_over: None,
                isolation: None,
                about: None,
                inline_refusal: None,
                sanitizer: None,
            },
        }
    }
}

impl LibraryReport {
    /// Says what is in use if that is not what lies there.
    fn compare(&mut self, lock: &Lock) {
        let Some(locked) = lock.libraries.get(&self.library) else {
            return;
        };
        if self.sha256.as_ref() == Some(&locked.current.sha256) {
            return;
        }
        self.in_use = Some(locked.current.clone().into());
        let passed_over = locked.passed_over.as_ref();
        self.passed_over = passed_over
            .filter(|build| Some(&build.sha256) == self.sha256.as_ref() && !build.is_rolled_back())
            .map(|build| build.refusal.clone());
    }
}

impl Loader {
    /// Every library in the directories, in their order.
    pub fn survey(&self) -> Vec<LibraryReport> {
        let (found, refused) = discover::all(&self.config.directories);
        let refused = refused.into_iter().map(|(path, refusal)| LibraryReport {
            path,
            library: String::new(),
            is_loadable: false,
            refusal: Some(refusal),
            size_bytes: None,
            sha256: None,
            signed_by: None,
            in_use: None,
            passed_over: None,
            isolation: None,
            about: None,
            inline_refusal: None,
            sanitizer: None,
        });
        let lock = self.config.trust.lock();
        let found = found.into_iter().map(move |found| {
            let judged = match &lock {
                Ok(lock) => self.candidate(&found, lock),
                Err(refusal) => Err(Refused::from(refusal.clone())),
            };
            let mut report = LibraryReport::of(found, judged, |found, sha256| {
                Some(self.place(found, sha256, lock.as_ref().ok()?))
            });
            if let Ok(lock) = &lock {
                report.compare(lock);
            }
            report
        });
        refused.chain(found).collect()
    }
}

/// For the terminal.
impl fmt::Display for LibraryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let (Some(sha256), Some(size)) = (&self.sha256, self.size_bytes) {
            write!(f, "\n  sha256 {sha256}, {}", quantity(size, "byte", "bytes"))?;
        }
        if let Some(refusal) = &self.refusal {
            write!(f, "\n  cannot be loaded: {refusal}")?;
        }
        if let Some(refusal) = &self.passed_over {
            write!(f, "\n  is not used: {refusal}")?;
        }
        if let Some(version) = &self.in_use {
            write!(f, "\n  in use instead: version {version}")?;
        }
        let Some(about) = &self.about else {
            return Ok(());
        };
        let built_with = about.built_with();
        write!(
            f,
            "\n  version {}, ABI {}, built with {built_with}",
            about.version, about.abi
        )?;
        if let Some(isolation) = self.isolation {
            write!(f, ", isolation {isolation}")?;
        }
        if let Some(signer) = &self.signed_by {
            write!(f, ", signed by {signer}")?;
        }
        for warning in &about.warnings {
            write!(f, "\n  warning: {warning}")?;
        }
        for backend in &about.backends {
            write!(f, "\n\n{backend}")?;
        }
        Ok(())
    }
}

impl fmt::Display for BackendReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sandbox = if self.sandbox { " (sandbox)" } else { "" };
        write!(f, "{}{sandbox}\n  {}", self.name, self.summary)?;
        for (what, names) in [
            ("overrides", self.overrides.join(", ")),
            ("hosts", self.hosts.join(", ")),
        ] {
            let names = if names.is_empty() { "none" } else { &names };
            write!(f, "\n  {what:<10}{names}")?;
        }
        let codes = match (self.owns_code, self.wants_code) {
            (true, _) => "made and checked by the provider",
            (false, true) => "told beside the text",
            (false, false) => "",
        };
        for (what, said) in [
            ("webhook", self.webhook.as_str()),
            ("receipts", &self.receipts),
            ("channels", &self.channels.join(", ")),
            ("codes", codes),
        ] {
            if !said.is_empty() {
                write!(f, "\n  {what:<10}{said}")?;
            }
        }
        if self.options.is_empty() {
            write!(f, "\n  options   none")?;
        }
        let rows: Vec<[String; 4]> = self.options.iter().map(row).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths = [0, 1, 2].map(|column| width(column).unwrap_or(0));
        for [name, kind, need, help] in &rows {
            let row = format!(
                "  {name:<0$}  {kind:<1$}  {need:<2$}  {help}",
                widths[0], widths[1], widths[2]
            );
            write!(f, "\n{}", row.trim_end())?;
        }
        Ok(())
    }
}

fn row(option: &OptionInfo) -> [String; 4] {
    let mut name = option.name.clone();
    if !option.alias.is_empty() {
        name.push_str(&format!(" (or {})", option.alias));
    }
    let secret = if option.secret { ", secret" } else { "" };
    let need = match &option.default {
        Value::Null if option.required => "required".to_owned(),
        Value::Null => "optional".to_owned(),
        default => format!("default {default}"),
    };
    let mut help = option.help.clone();
    if !option.example.is_empty() {
        help.push_str(&format!(" Example: {}", option.example));
    }
    [name, format!("{}{secret}", option.value_type), need, help]
}

fn about(stem: &str, manifest: Manifest) -> LibraryAbout {
    let newer_abi = manifest.newer_abi();
    LibraryAbout {
        warnings: newer_abi.iter().chain(&manifest.unknown).cloned().collect(),
        newer_abi,
        unknown_keys: manifest.unknown,
        abi: manifest.abi.to_string(),
        backends: manifest
            .backends
            .into_iter()
            .map(|backend| report(stem, backend))
            .collect(),
        version: manifest.version,
        license: manifest.license,
        repository: manifest.repository,
        plugin_api: manifest.plugin_api,
        built_as: manifest.library,
        tape: tape(&manifest.tape),
    }
}

/// The lines as one text; what is not a list of texts is no tape.
fn tape(lines: &Value) -> Option<String> {
    let lines: Option<Vec<&str>> = lines.as_array()?.iter().map(Value::as_str).collect();
    Some(lines?.join("\n"))
}

fn report(stem: &str, backend: BackendInfo) -> BackendReport {
    let overrides = [
        (overrides::SEND_BULK_SMS, "send_bulk_sms"),
        (overrides::GENERATE_SECURITY_CODE, "generate_security_code"),
        (overrides::GENERATE_MESSAGE, "generate_message"),
        (overrides::VALIDATE_SECURITY_CODE, "validate_security_code"),
        (overrides::RECEIVE, "receive"),
        (overrides::FEEDBACK, "feedback"),
        (overrides::BALANCE, "balance"),
        (overrides::CANCEL, "cancel"),
        (overrides::EXTENSION, "extension"),
    ];
    BackendReport {
        name: format!("{stem}.{}", backend.name),
        summary: backend.summary,
        sandbox: backend.sandbox,
        overrides: overrides
            .into_iter()
            .filter(|(bit, _)| backend.overrides & bit != 0)
            .map(|(_, name)| name)
            .collect(),
        hosts: backend.hosts,
        webhook: backend.webhook,
        receipts: backend.receipts,
        channels: backend.channels,
        owns_code: backend.owns_code,
        wants_code: backend.wants_code,
        options: backend.options,
    }
}
