//! `[api]`: the native API.

use super::reader::{Reader, text};
use crate::model::KeyDigest;

/// The native API.
#[derive(Clone, Debug)]
pub struct Api {
    /// Who may use it: names and digests. Empty: everybody who reaches it.
    pub keys: Vec<(String, KeyDigest)>,
}

impl Api {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let mut section = reader.section("api", false);
        let rows = section.table("keys", false, "api.keys");
        let (mut keys, mut shown) = (Vec::new(), Vec::new());
        for row in rows.into_iter().filter(|row| row.value.is_resolved()) {
            match text(&row.value).ok().and_then(|text| KeyDigest::parse(&text)) {
                Some(digest) => {
                    shown.push((row.key.clone(), format!("{:?}", digest.to_string())));
                    keys.push((row.key, digest));
                }
                // The value is not repeated: it may be a key in the place of its digest.
                None => section.problem(
                    Some(row.line),
                    &format!(
                        "keys.{} must be a digest such as `phone-verify keys new` prints: sha256: and 64 hexadecimal \
                         digits",
                        row.key
                    ),
                ),
            }
        }
        section.show_table("api.keys", &shown);
        section.finish();
        Self { keys }
    }
}
