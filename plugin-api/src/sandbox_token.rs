//! The fixed security code of a sandbox backend, and how such a backend judges a submitted code.
//!
//! Invariant: the token does not bypass expiry, single use, the session or the limit of attempts. The host checks all
//! of these in the base behaviour, which is asked first.

use serde_json::Value;

use crate::{Call, Error, OptionValue, Secret, Verdict};

/// The fixed security code of a sandbox backend, usually the option `SANDBOX_TOKEN`.
///
/// ```
/// # use phone_verify_plugin_api::*;
/// #[derive(Options)]
/// struct AcmeSandboxOptions {
///     /// The security code of every verification.
///     #[option(example = "123456")]
///     sandbox_token: SandboxToken,
/// }
/// # struct Acme { token: SandboxToken }
/// # impl Acme {
/// // The two overrides of a sandbox backend:
/// async fn generate_security_code(&self, _call: &Call) -> Result<String, Error> {
///     Ok(self.token.security_code())
/// }
///
/// async fn validate_security_code(
///     &self,
///     security_code: &str,
///     _phone_number: &PhoneNumber,
///     _session_token: &str,
///     call: &Call,
/// ) -> Result<Verdict, Error> {
///     self.token.validate(security_code, call).await
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxToken(Secret);

impl SandboxToken {
    /// Wraps a text.
    pub fn new(token: impl Into<String>) -> Self {
        Self(Secret::new(token))
    }

    /// The result for the override of `generate_security_code`.
    pub fn security_code(&self) -> String {
        self.0.expose().to_owned()
    }

    /// The result for the override of `validate_security_code`: the verdict of the base behaviour, except that the
    /// token is valid where the base finds only the code wrong.
    ///
    /// The base accepts the token itself for every session that was registered while the sandbox was in use, since it
    /// is the code that was sent. A session from before has another code, and accepts the token through this exception.
    ///
    /// # Errors
    /// Those of the base behaviour.
    pub async fn validate(&self, security_code: &str, call: &Call) -> Result<Verdict, Error> {
        let verdict = call.base().validate_security_code(security_code).await?;
        Ok(self.judge(security_code, verdict))
    }

    fn judge(&self, security_code: &str, base: Verdict) -> Verdict {
        match base {
            Verdict::Invalid if self.is_in(security_code) => Verdict::Valid,
            verdict => verdict,
        }
    }

    /// Whether the code equals the token by its letters and digits, ignoring case, which is how the host normalises
    /// submitted codes.
    fn is_in(&self, security_code: &str) -> bool {
        let code = folded(security_code);
        !code.is_empty() && code == folded(self.0.expose())
    }
}

fn folded(text: &str) -> String {
    let letters_and_digits = text.chars().filter(|character| character.is_alphanumeric());
    letters_and_digits.collect::<String>().to_uppercase()
}

impl OptionValue for SandboxToken {
    const TYPE: &'static str = "string";
    const SECRET: bool = true;

    fn from_json(value: &Value) -> Result<Self, String> {
        Secret::from_json(value).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_right_where_another_code_was_sent() {
        let token = SandboxToken::new("123456");
        assert_eq!(token.judge("123456", Verdict::Invalid), Verdict::Valid);
    }

    #[test]
    fn the_token_may_be_written_in_groups_and_in_either_case() {
        for code in ["KX7TRM", "kx7trm"] {
            for token in ["kx7 trm", "KX7-TRM"] {
                assert!(SandboxToken::new(token).is_in(code), "{token} {code}");
            }
        }
        assert!(!SandboxToken::new("KX7TRM").is_in("KX7TR"));
        for nothing in ["", "-"] {
            assert!(!SandboxToken::new(nothing).is_in(""), "{nothing}");
        }
    }

    #[test]
    fn the_token_is_above_neither_expiry_nor_single_use_nor_session_nor_attempts() {
        for verdict in [
            Verdict::Expired,
            Verdict::AlreadyVerified,
            Verdict::SessionTokenInvalid,
            Verdict::TooManyAttempts,
        ] {
            assert_eq!(SandboxToken::new("123456").judge("123456", verdict), verdict);
        }
    }

    #[test]
    fn another_code_is_judged_by_the_base() {
        for verdict in [Verdict::Invalid, Verdict::Valid] {
            assert_eq!(SandboxToken::new("123456").judge("654321", verdict), verdict);
        }
    }
}
