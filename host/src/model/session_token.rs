//! What ties a check to the registration before it.
/// Never shown but to the client that registered.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken(String);
impl SessionToken {
    /// As the client sent it.
    pub fn from_client(text: &str) -> Self {
        Self(text.to_owned())
    }
    /// The readable token.
    pub fn expose(&self) -> &str {
        &self.0
    }
}
