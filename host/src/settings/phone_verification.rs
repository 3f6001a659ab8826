//! `[phone_verification]`: the settings dict of django-phone-verify.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use serde_json::{Map, Value};

use super::{
    messages,
    reader::{Reader, Section, flag, number, text},
    test_numbers,
};
use crate::{
    model::{Alphabet, CodeFormat, Messages, Region, TestNumbers},
    verifier::ResendPolicy,
};

/// Above this, warn: NIST SP 800-63B, section 5.1.3.2, lets a code live for 10 minutes.
const ADVISED_EXPIRATION_SECONDS: u32 = 600;

/// Below this, warn: the same section asks for 20 bits of entropy, which are about six digits.
const ADVISED_POSSIBILITIES: u64 = 1_000_000;

/// Codes, messages, backend.
pub struct PhoneVerification {
    /// `<library>.<Backend>`, perhaps with more before it.
    pub backend: String,
    /// What the backend is given.
    pub options: Map<String, Value>,
    /// Keys of options whose value must not be shown.
    pub secret_options: BTreeSet<String>,
    /// What codes look like.
    pub code_format: CodeFormat,
    /// How long a code is good.
    pub expiration: Duration,
    /// Whether a code is good for one use.
    pub only_once: bool,
    /// What a further SMS within a code's life carries.
    pub resend: ResendPolicy,
    /// How many wrong codes a code survives.
    pub max_failed_attempts: u32,
    /// How long records are kept.
    pub record_retention: Duration,
    /// Whose national numbers are accepted.
    pub default_region: Option<Region>,
    /// Whether what a caller says besides a number may hold addresses on the web.
    pub context_allows_urls: bool,
    /// The language that `MESSAGE` is in, as a tag.
    pub language: String,
    /// The texts.
    pub messages: Arc<Messages>,
    /// Numbers that nothing is sent to.
    pub test_numbers: Arc<TestNumbers>,
}

/// Without the options' values.
impl fmt::Debug for PhoneVerification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhoneVerification")
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

impl PhoneVerification {
    /// What is wrong, the reader has; a default stands in its place.
    pub(super) fn read(reader: &mut Reader) -> Self {
        let mut section = reader.section("phone_verification", true);
        let (backend, _) = section.required("BACKEND", |value| {
            let path = text(value)?;
            let parts: Vec<_> = path.split('.').collect();
            let whole = parts.len() >= 2 && parts.iter().all(|part| !part.is_empty());
            whole
                .then_some(path.clone())
                .ok_or_else(|| format!("must be <library>.<Backend>, such as nexmo.NexmoBackend, not {path}"))
        });
        let rows = section.table("OPTIONS", true, "phone_verification.OPTIONS");
        let mut options = Map::new();
        let mut secret_options = BTreeSet::new();
        let mut shown_options = Vec::new();
        for row in rows {
            let secret = row.value.referred() || looks_secret(&row.key) || holds_credentials(&row.value);
            let shown = if secret {
                "\"***\"".into()
            } else {
                row.value.to_toml()
            };
            if secret {
                secret_options.insert(row.key.clone());
            }
            shown_options.push((row.key.clone(), shown));
            options.insert(row.key, row.value.to_json());
        }
        let (token_length, line) = section.required("TOKEN_LENGTH", number(4..=10));
        let min_token_length = section.get("MIN_TOKEN_LENGTH", number(4..=10));
        if section.are_known(&["TOKEN_LENGTH", "MIN_TOKEN_LENGTH"]) && token_length < min_token_length {
            let message = format!(
                "TOKEN_LENGTH is {token_length}, which is less than MIN_TOKEN_LENGTH, {min_token_length}"
            );
            section.problem("TOKEN_LENGTH", line, &message);
        }
        let alphabet = section.get("SECURITY_CODE_ALPHABET", |value| Alphabet::parse(&text(value)?));
        let code_format = CodeFormat {
            alphabet,
            length: token_length as usize,
        };
        if code_format.possibilities() < ADVISED_POSSIBILITIES {
            let message = format!(
                "there are {} security codes of TOKEN_LENGTH {token_length}; fewer than {ADVISED_POSSIBILITIES} are \
                 not advised",
                code_format.possibilities()
            );
            section.warning(line, &message);
        }
        let texts = messages::read(&mut section, code_format);
        let expiration = expiration(&mut section);
        let (only_once, _) = section.required("VERIFY_SECURITY_CODE_ONLY_ONCE", flag);
        let resend = section.get("RESEND_POLICY", |value| match text(value)?.as_str() {
            "same" => Ok(ResendPolicy::Same),
            "new" => Ok(ResendPolicy::New),
            other => Err(format!("must be same or new, not {other}")),
        });
        let max_failed_attempts = section.get("MAX_FAILED_ATTEMPTS", number(1..=100));
        let record_retention_days = section.get("RECORD_RETENTION_DAYS", number(1..=3650));
        let record_retention = Duration::from_secs(u64::from(record_retention_days) * 24 * 60 * 60);
        let default_region = section.get("DEFAULT_REGION", |value| {
            let region = text(value)?;
            if region.is_empty() {
                return Ok(None);
            }
            Region::parse(&region)
                .map(Some)
                .ok_or_else(|| format!("must be an ISO 3166 country code such as US, not {region}"))
        });
        let context_allows_urls = section.get("CONTEXT_ALLOWS_URLS", flag);
        let (test_numbers, shown_numbers) = test_numbers::read(&mut section, code_format);
        section.show_table("phone_verification.OPTIONS", &shown_options);
        section.show_table("phone_verification.MESSAGES", &texts.shown);
        section.show_table("phone_verification.TEST_NUMBERS", &shown_numbers);
        section.finish();
        Self {
            backend,
            options,
            secret_options,
            code_format,
            expiration,
            only_once,
            resend,
            max_failed_attempts,
            record_retention,
            default_region,
            context_allows_urls,
            language: texts.language,
            messages: Arc::new(texts.messages),
            test_numbers: Arc::new(test_numbers),
        }
    }
}

fn expiration(section: &mut Section<'_>) -> Duration {
    const OLDER: &str = "SECURITY_CODE_EXPIRATION_TIME";
    const NAME: &str = "SECURITY_CODE_EXPIRATION_SECONDS";
    let bounds = || number(30..=86_400);
    let (seconds, line) = if section.has(OLDER) {
        let both = section.has(NAME);
        let (seconds, line) = section.older_name(OLDER, NAME, bounds());
        if both {
            section.problem(
                OLDER,
                line,
                &format!("{OLDER} is the older name of {NAME}, which is there too; keep that one"),
            );
        } else {
            section.warning(
                line,
                &format!("{OLDER} is the older name of {NAME}; use that one"),
            );
        }
        (seconds, line)
    } else {
        section.required(NAME, bounds())
    };
    if seconds > ADVISED_EXPIRATION_SECONDS {
        let message = format!(
            "a code is good for {seconds} seconds; more than {ADVISED_EXPIRATION_SECONDS} is not advised"
        );
        section.warning(line, &message);
    }
    Duration::from_secs(u64::from(seconds))
}

/// Whether a value is a URL with a user's name and password in it.
fn holds_credentials(value: &super::document::Value) -> bool {
    text(value).is_ok_and(|text| {
        text.split_once("://").is_some_and(|(_, rest)| {
            rest.split('/')
                .next()
                .is_some_and(|authority| authority.contains('@'))
        })
    })
}

/// Whether an option's name says that its value must not be shown.
fn looks_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    ["secret", "token", "pass", "pwd", "auth", "key", "credential"]
        .iter()
        .any(|word| key.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::{REQUIRED, parse, problems};

    #[test]
    fn an_alphabet_is_chosen_by_name_and_too_few_codes_are_told() {
        let with = |lines: &str| parse(&REQUIRED.replace("TOKEN_LENGTH = 6", lines));
        let warnings = |lines: &str| -> Vec<String> {
            let warnings = with(lines).unwrap().warnings;
            warnings.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            with("TOKEN_LENGTH = 6").unwrap().phone_verification.code_format,
            CodeFormat::digits(6)
        );
        let letters = "MIN_TOKEN_LENGTH = 4\nSECURITY_CODE_ALPHABET = \"letters\"\nTOKEN_LENGTH = ";
        assert_eq!(warnings(&format!("{letters}5")), [""; 0]);
        assert_eq!(
            warnings(&format!("{letters}4")),
            [
                "test.toml:6: [phone_verification] there are 160000 security codes of TOKEN_LENGTH 4; fewer than 1000000 \
                 are not advised"
            ]
        );
        assert_eq!(warnings("TOKEN_LENGTH = 5\nMIN_TOKEN_LENGTH = 5").len(), 1);
        assert_eq!(
            problems(&REQUIRED.replace(
                "TOKEN_LENGTH = 6",
                "TOKEN_LENGTH = 6\nSECURITY_CODE_ALPHABET = \"hex\""
            )),
            [
                "test.toml:5: [phone_verification] SECURITY_CODE_ALPHABET must be \"digits\", \"letters\" or \
                 \"letters_and_digits\", not hex"
            ]
        );
    }
}
