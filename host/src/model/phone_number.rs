//! A phone number in E.164.
/// A valid number; shown masked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PhoneNumber(String);
/// The text is not a valid phone number.
#[derive(Debug, Clone, thiserror::Error)]
#[error("not a valid phone number")]
pub struct NotAPhoneNumber;
/// An ISO 3166 country whose national numbers are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region(());
impl Region {
    /// "US", "gb"
    pub fn parse(_text: &str) -> Option<Self> {
        todo!()
    }
}
impl PhoneNumber {
    /// libphonenumber's rules; national numbers only with a default region.
    pub fn parse(_text: &str, _default_region: Option<Region>) -> Result<Self, NotAPhoneNumber> {
        todo!()
    }
    /// `+13478379634`: for the backend and the digest only.
    pub fn e164(&self) -> &str {
        &self.0
    }
    /// `+13****34`.
    pub fn masked(&self) -> String {
        todo!()
    }
}
