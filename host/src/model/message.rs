//! The text of the SMS: templates by language.
/// `Accept-Language` as sent, or a single tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locale(pub String);
/// All templates, checked.
pub struct Messages {}
/// A template that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadTemplate(pub String);
impl Messages {
    /// `default` is MESSAGE, `by_language` the MESSAGES table (language tag -> template), `app` APP_NAME.
    pub fn new(_default: &str, _by_language: &[(String, String)], _app: &str) -> Result<Self, BadTemplate> {
        todo!()
    }
    /// RFC 4647 lookup by quality, else the default.
    pub fn render(&self, _locale: &Locale, _code: &super::SecurityCode) -> String {
        todo!()
    }
}
