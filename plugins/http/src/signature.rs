//! Signatures of requests: a digest or an HMAC over a template. For requests of this backend, and for delivery receipts
//! that the provider signs.

use phone_verify_plugin_api::{
    Error, HashAlgorithm, Host,
    data_encoding::{BASE64, HEXLOWER},
    serde_json::{Map, Value},
};

use crate::{
    problems::{Problems, choice, hint},
    template::Template,
    values::Name,
};

const HASHES: [(&str, HashAlgorithm); 4] = [
    ("md5", HashAlgorithm::Md5),
    ("sha1", HashAlgorithm::Sha1),
    ("sha256", HashAlgorithm::Sha256),
    ("sha512", HashAlgorithm::Sha512),
];
/// The keys of an option that describes a signature.
const KEYS: [&str; 4] = ["hash", "key", "over", "encoding"];

/// How a signature is made.
pub(crate) struct Signature {
    hash: HashAlgorithm,
    /// The key of the HMAC. `None`: it is a digest.
    key: Option<Template>,
    over: Template,
    encoding: Encoding,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Hex,
    Base64,
}

impl Signature {
    /// Reads a table with `hash`, `over`, and perhaps `key` and `encoding`. What is wrong goes to `problems`; `more`
    /// are keys that the caller has taken out.
    pub(crate) fn read(
        option: &str,
        table: Map<String, Value>,
        more: &[&str],
        problems: &mut Problems,
    ) -> Option<Self> {
        let (mut hash, mut key, mut over, mut encoding) = (None, None, None, Encoding::Hex);
        for (name, value) in table {
            let text = value.as_str().unwrap_or_default();
            let place = format!("option {option}.{name}");
            match name.to_lowercase().as_str() {
                "hash" => {
                    hash = HASHES.iter().find(|(known, _)| text.eq_ignore_ascii_case(known));
                    if hash.is_none() {
                        let known = HASHES.iter().map(|(name, _)| *name);
                        problems.add(format!("{place} is not a known hash{}", choice(text, known)));
                        return None;
                    }
                }
                "key" => key = Some(template(&place, text, problems)?),
                "over" => over = Some(template(&place, text, problems)?),
                "encoding" => match text.to_lowercase().as_str() {
                    "hex" => encoding = Encoding::Hex,
                    "base64" => encoding = Encoding::Base64,
                    other => problems.add(format!(
                        "{place} must be hex or base64{}",
                        hint(other, ["hex", "base64"])
                    )),
                },
                other => {
                    let known = KEYS.iter().chain(more).copied();
                    problems.add(format!("{place} is unknown{}", choice(other, known)));
                }
            }
        }
        let (Some((_, hash)), Some(over)) = (hash, over) else {
            problems.add(format!(
                "option {option} needs hash and over, such as {{ hash = \"sha256\", key = \"{{secret}}\", over = \
                 \"{{body}}\" }}"
            ));
            return None;
        };
        if !key
            .iter()
            .chain([&over])
            .any(|template| template.names().any(Name::is_secret))
        {
            problems.add(format!(
                "option {option} has no secret, so that anybody could sign; write key = \"{{secret}}\", and set SECRET"
            ));
        }
        Some(Self {
            hash: *hash,
            key,
            over,
            encoding,
        })
    }

    /// The placeholders in it.
    pub(crate) fn names(&self) -> impl Iterator<Item = Name> + '_ {
        let key = self.key.iter().flat_map(Template::names);
        key.chain(self.over.names())
    }

    /// Makes the signature. `write` appends the value of a placeholder.
    ///
    /// # Errors
    /// On a host that makes no signatures.
    pub(crate) fn sign(
        &self,
        host: &Host,
        mut write: impl FnMut(Name, &mut String),
    ) -> Result<String, Error> {
        let over = self.over.fill_with(&mut write);
        let signature = match &self.key {
            Some(key) => host.hmac(self.hash, key.fill_with(&mut write).as_bytes(), over.as_bytes())?,
            None => host.digest(self.hash, over.as_bytes())?,
        };
        Ok(match self.encoding {
            Encoding::Hex => HEXLOWER.encode(&signature),
            Encoding::Base64 => BASE64.encode(&signature),
        })
    }

    /// A signature that came in, in the form in which [`Self::sign`] writes it.
    pub(crate) fn normal(&self, signature: &str) -> String {
        match self.encoding {
            Encoding::Hex => signature.to_ascii_lowercase(),
            Encoding::Base64 => signature.to_owned(),
        }
    }
}

fn template(place: &str, text: &str, problems: &mut Problems) -> Option<Template> {
    match Template::parse(text) {
        Ok(_) if text.is_empty() => {
            problems.add(format!("{place} must be a text that is not empty"));
            None
        }
        Ok(template) => Some(template),
        Err(wrong) => {
            problems.add(format!("{place} {wrong}"));
            None
        }
    }
}
