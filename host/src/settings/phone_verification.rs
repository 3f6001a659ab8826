//! `[phone_verification]`: the settings of django-phone-verify under their names there, so that its settings dict can
//! be carried over. Keys may be written in upper or lower case.

use std::{fmt, sync::Arc, time::Duration};

use serde_json::{Map, Value};

use super::{
    backends::backend_name,
    messages,
    options::Options,
    reader::{Reader, Section, flag, number, text},
    test_numbers,
};
use crate::{
    model::{Alphabet, CodeFormat, Messages, Region, TestNumbers},
    verifier::ResendPolicy,
};

/// A warning is given above this: NIST SP 800-63B, section 5.1.3.2, limits the validity of a code to 10 minutes.
const ADVISED_EXPIRATION_SECONDS: u32 = 600;

/// A warning is given below this many possible codes: the same section asks for 20 bits of entropy, so about six
/// digits.
const ADVISED_POSSIBILITIES: u64 = 1_000_000;

/// Everything about codes, messages and the backend that sends them.
pub struct PhoneVerification {
    /// The name of the backend, `<library>.<Backend>`. More parts may come before these, as in a Python path. `None`: there
    /// are only those of `[backends]`.
    pub backend: Option<String>,
    /// The options that are passed to the backend.
    pub options: Map<String, Value>,
    /// The alphabet and length of codes.
    pub code_format: CodeFormat,
    /// How long a code is valid after it was sent.
    pub expiration: Duration,
    /// Whether a code can be used only once.
    pub only_once: bool,
    /// Whether a further SMS within a code's validity repeats that code or carries a new one.
    pub resend: ResendPolicy,
    /// How many wrong codes may be entered before the verification fails.
    pub max_failed_attempts: u32,
    /// How long records of verifications are kept.
    pub record_retention: Duration,
    /// The country whose numbers may be given in national form; `None`: E.164 only.
    pub default_region: Option<Region>,
    /// Whether the `context` of a request to `/v1` may hold web addresses. If not, they are removed, since a backend
    /// may word the SMS from the context, and a user of the application could send links in the operator's name.
    pub context_allows_urls: bool,
    /// The language of `MESSAGE`, as a language tag.
    pub language: String,
    /// The texts of SMS.
    pub messages: Arc<Messages>,
    /// Numbers that have a fixed code, and to which no SMS is sent.
    pub test_numbers: Arc<TestNumbers>,
}

/// Omits the options, which hold secrets of providers.
impl fmt::Debug for PhoneVerification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhoneVerification")
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

impl PhoneVerification {
    /// Reads the section. The reader records every problem; a default replaces each faulty value.
    pub(super) fn read(reader: &mut Reader) -> Self {
        let mut section = reader.section("phone_verification", true);
        // With [backends] there is a fleet without it.
        let backend = if section.has("BACKEND") || !section.is_beside("backends") {
            Some(section.required("BACKEND", backend_name).0)
        } else {
            section.leave_out("BACKEND");
            None
        };
        if backend.is_none() && section.has("OPTIONS") {
            let message = "OPTIONS are those of BACKEND, which is not set; set BACKEND, or move them to the OPTIONS of a \
                           backend in [backends]";
            section.problem("OPTIONS", None, message);
        }
        let rows = section.table("OPTIONS", backend.is_some(), "phone_verification.OPTIONS");
        let options = Options::of(rows);
        for secret in &options.secrets {
            section.warn_if_exposed(Some(secret.line), &secret.key, &secret.value);
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
        if backend.is_some() {
            section.show_table("phone_verification.OPTIONS", &options.shown);
        }
        section.show_table("phone_verification.MESSAGES", &texts.shown);
        section.show_table("phone_verification.TEST_NUMBERS", &shown_numbers);
        section.finish();
        Self {
            backend,
            options: options.values,
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

/// Reads how long a code is valid, under the setting's present name or its older one.
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
