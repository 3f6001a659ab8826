//! The items that the macros expand to. Not for authors: only the exported ABI is stable, not these items.
#![allow(missing_docs)]

mod glue;
mod guard;
mod manifest;

pub use glue::{CreateResult, create, header, manifest_text, root, root_module, unknown_backend};
pub use manifest::{BackendInfo, LibraryInfo, manifest, manifest_len};
pub use phone_verify_plugin_abi::{
    HostObj, RootRef,
    abi_stable::{
        library::{LibHeader, RootModuleResult},
        std_types::{RStr, RString},
    },
    overrides,
};

pub use phone_verify_plugin_macros::tape;

pub use crate::options::{OptionField, OptionReader};

/// A backend with its row of the manifest, implemented by the attribute macro.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be exported as a backend",
    note = "put the attribute `#[backend]` on its `impl Backend` block"
)]
pub trait Exported: crate::Backend {
    const INFO: BackendInfo;
}
