//! Where providers report about the messages of each backend, for the operator to tell them.
//!
//! Invariant: nothing is made for it. The secret part is derived from the keys, and shown to whom can read them.

use phone_verify_domain::store::Keyring;

use super::keyring;
use crate::{
    entropy::Entropy,
    settings::{Keys, Settings},
};

/// The addresses for the provider of one backend.
pub struct ReceiptAddress {
    /// The name of the backend in the settings.
    pub backend: String,
    /// For a provider that signs its requests. Without `[server] public_url`, the path alone.
    pub signed: String,
    /// For a provider that signs nothing. `None`: there are no keys yet, or they cannot be read.
    pub secret: Option<String>,
}

/// The addresses for all backends of the settings.
pub fn receipt_addresses(settings: &Settings) -> Vec<ReceiptAddress> {
    let keyring = existing_keyring(settings);
    let server = settings.server.public_url.as_ref();
    let server = server.map_or_else(String::new, ToString::to_string);
    let address = |backend: &str| {
        let signed = format!("{server}/v1/receipts/{backend}");
        let secret = keyring.as_ref().map(|keyring| keyring.receipt_secret(backend));
        ReceiptAddress {
            backend: backend.to_owned(),
            secret: secret.map(|secret| format!("{signed}/{}", *secret)),
            signed,
        }
    };
    settings
        .backends
        .iter()
        .map(|backend| address(&backend.name))
        .collect()
}

fn existing_keyring(settings: &Settings) -> Option<Keyring> {
    let keys = &settings.store.keys;
    let are_there = match keys {
        Keys::File(file) => file.is_file(),
        Keys::Given(_) => true,
    };
    are_there.then(|| keyring(keys, &Entropy::system()).ok())?
}
