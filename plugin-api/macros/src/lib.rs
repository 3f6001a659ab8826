//! The macros of `phone-verify-plugin-api`. They expand to that crate's hidden module, so that authors need no other
//! dependency.

mod backend;
mod options;

use std::path::Path;

use proc_macro::TokenStream;
use quote::quote;
use syn::parse_macro_input;

/// For `impl Backend for X`: generates the backend's row in the library's manifest.
///
/// `#[backend(summary = "…", hosts = ["api.example"], sandbox)]`. Each part is optional: a one-line summary, the hosts
/// that the backend may reach over HTTP, and whether it is a sandbox for tests and tutorials (the host then warns
/// wherever it is used). The host calls only the methods that this impl block overrides, and uses its own code for the
/// others.
///
/// | part | says |
/// |---|---|
/// | `webhook = "signed"` | `receive` takes requests of the provider, and checks a signature of every one |
/// | `webhook = "secret"` | the same, but not every request is signed, so the address has to hold a secret |
/// | `receipts = "carrier"`, `"handset"` | who says that a message is delivered |
/// | `channels = ["sms", "voice"]` | how messages can go; left out: by SMS |
/// | `owns_code` | the provider makes and checks the codes |
/// | `wants_code` | `Call::security_code` is to hold the code, for a provider that fills in a template |
#[proc_macro_attribute]
pub fn backend(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let attributes = parse_macro_input!(attributes as backend::Attributes);
    let item = parse_macro_input!(item as syn::ItemImpl);
    backend::expand(&attributes, &item)
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

/// The text of `<crate>.tape.toml` in the folder of the compiled crate's `Cargo.toml`, or an empty text. Not for
/// authors: `export_backends!` uses it.
#[doc(hidden)]
#[proc_macro]
pub fn tape(_nothing: TokenStream) -> TokenStream {
    let file = || {
        let folder = std::env::var("CARGO_MANIFEST_DIR").ok()?;
        let name = std::env::var("CARGO_CRATE_NAME").ok()?;
        let file = Path::new(&folder).join(format!("{name}.tape.toml"));
        file.is_file().then(|| file.to_str().map(str::to_owned))?
    };
    // Expands to `include_str!`, so that a changed tape makes cargo build the library again.
    file()
        .map_or_else(|| quote!(""), |file| quote!(::core::include_str!(#file)))
        .into()
}

/// Fills a struct from the `OPTIONS` table of the settings: see the trait of the same name.
#[proc_macro_derive(Options, attributes(option))]
pub fn options(item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::DeriveInput);
    options::expand(&item)
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}
