//! The macros of `phone-verify-plugin-api`. They expand to that crate's hidden module, so an author needs
//! no other dependency.

mod backend;
mod options;

use std::path::Path;

use proc_macro::TokenStream;
use quote::quote;
use syn::parse_macro_input;

/// On `impl Backend for X`: notes what goes into the library's manifest.
///
/// `#[backend(summary = "…", hosts = ["api.example"], sandbox)]`, each part optional: one line about the backend, the
/// hosts that it may reach over HTTP, and whether it is for tests and tutorials (the host then says so wherever it is used).
/// The host calls the methods that this impl block overrides; for the others it keeps to its own code.
#[proc_macro_attribute]
pub fn backend(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let attributes = parse_macro_input!(attributes as backend::Attributes);
    let item = parse_macro_input!(item as syn::ItemImpl);
    backend::expand(&attributes, &item)
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

/// The text of `<crate>.tape.toml` beside the `Cargo.toml` of the crate that is compiled; empty where there is none. Not for
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
    // Through the compiler, so that a changed tape builds the library anew.
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
