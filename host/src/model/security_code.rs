//! A security code.
/// Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecurityCode(String);
impl SecurityCode {
    /// From the backend, the settings or a client: 1 to 64 characters.
    pub fn new(_text: &str) -> Option<Self> {
        todo!()
    }
    /// The readable code: for the message and the digest only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}
