//! The store.
use std::sync::Arc;
/// Domain operations, each one transaction. (Owner: core.)
#[async_trait::async_trait]
pub trait Store: Send + Sync {
    /// Whether a write would succeed now: writes and rolls back.
    async fn ready(&self) -> Result<(), StoreError>;
}
/// The store could not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// For the log.
    #[error("the database cannot be used: {0}")]
    Unavailable(String),
}
/// The server's keys.
pub struct Keyring {}
impl Keyring {
    /// Reads the key file, or makes it (mode 0600) on first start.
    pub fn open(_path: &std::path::Path, _entropy: &crate::entropy::Entropy) -> Result<Self, String> {
        todo!()
    }
}
/// Where the verifier puts a message that is already in the store's outbox.
#[derive(Clone)]
pub struct OutboxSender {}
/// Opens the embedded store.
pub fn open_sqlite(_path: &std::path::Path) -> Result<Arc<dyn Store>, StoreError> {
    todo!()
}
