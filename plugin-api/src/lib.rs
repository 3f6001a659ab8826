//! Write an SMS backend for phone-verify: a plain struct with an `async fn send_sms`, compiled into a
//! shared library that the host loads by name. This crate is the only dependency a backend needs.
//!
//! ```
//! use phone_verify_plugin_api::{
//!     Backend, Call, Error, ErrorKind, Host, Options, PhoneNumber, Receipt, Secret, backend, export_backends,
//! };
//!
//! /// The `OPTIONS` of the settings, typed. Keys are matched without regard to case.
//! #[derive(Options)]
//! struct AcmeOptions {
//!     /// The account's API key.
//!     key: Secret,
//!     /// The sender id.
//!     from: String,
//!     /// Where the provider listens.
//!     #[option(default = "https://api.acme.example")]
//!     base_url: String,
//! }
//!
//! struct AcmeBackend {
//!     options: AcmeOptions,
//!     host: Host,
//! }
//!
//! #[backend(summary = "Sends through Acme", hosts = ["api.acme.example"])]
//! impl Backend for AcmeBackend {
//!     type Options = AcmeOptions;
//!
//!     fn new(options: AcmeOptions, host: Host) -> Result<Self, Error> {
//!         Ok(Self { options, host })
//!     }
//!
//!     async fn send_sms(&self, number: &PhoneNumber, message: &str, _call: &Call) -> Result<Receipt, Error> {
//!         let url = format!("{}/sms", self.options.base_url);
//!         let form = [("from", self.options.from.as_str()), ("to", number.e164()), ("text", message)];
//!         let response = self.host.http().post(&url).bearer(self.options.key.expose()).form(&form).send().await?;
//!         match response.status() {
//!             202 => Ok(Receipt::new(response.header("x-message-id").unwrap_or_default())),
//!             400 => Err(Error::new(ErrorKind::InvalidNumber, "acme_400", "Acme does not take this number")),
//!             status => Err(Error::from_http_status("acme", status)),
//!         }
//!     }
//! }
//!
//! export_backends!(AcmeBackend);
//! ```
//!
//! A library needs neither an async runtime nor TLS: [`Host`] offers HTTP through its pooled client, logging, clock,
//! randomness and sleep. A future that waits on anything else, such as a socket or timer of an async runtime, is never
//! woken.
//!
//! A method that is not overridden keeps the host's default behaviour, and an override can use that behaviour through
//! [`Call::base`]. A panic becomes an error of the call in which it happens.
//!
//! Backends in other languages use `include/phone_verify_plugin.h`, which offers the same interface as a table of C
//! functions.

mod backend;
mod call;
mod crypto;
mod error;
mod gsm;
mod host;
mod http;
mod money;
mod option_value;
mod options;
mod sandbox_token;
mod secret;
#[cfg(feature = "testing")]
pub mod testing;
mod types;
mod webhook;

#[doc(hidden)]
#[path = "hidden/mod.rs"]
pub mod __private;

pub use backend::{Backend, Report, send_to_each};
pub use call::{Base, Call};
pub use crypto::{HashAlgorithm, SignatureAlgorithm};
pub use error::{Error, ErrorKind};
pub use gsm::is_gsm;
pub use host::{Host, LogLevel};
pub use http::{Http, HttpError, Request, Response};
pub use money::Money;
pub use option_value::OptionValue;
pub use options::Options;
pub use phone_verify_plugin_macros::{Options, backend};
pub use sandbox_token::SandboxToken;
pub use secret::Secret;
pub use types::{Context, PhoneNumber, Receipt, Verdict};
pub use webhook::{DeliveryReport, DeliveryState, Received, Webhook};

// Re-exported so that an author needs no second dependency to parse a provider's answers, and to write a signature as
// hex or Base64.
pub use data_encoding;
pub use serde;
pub use serde_json;

/// The items that every library has, however it gets into a host; the manifest itself is the caller's.
#[doc(hidden)]
#[macro_export]
macro_rules! __library {
    ($($backend:ty),+) => {
        const LIBRARY: $crate::__private::LibraryInfo = $crate::__private::LibraryInfo {
            name: ::core::env!("CARGO_CRATE_NAME"),
            version: ::core::env!("CARGO_PKG_VERSION"),
            license: ::core::env!("CARGO_PKG_LICENSE"),
            repository: ::core::env!("CARGO_PKG_REPOSITORY"),
            backends: &[$(<$backend as $crate::__private::Exported>::INFO),+],
            tape: $crate::__private::tape!(),
        };
        const LENGTH: usize = $crate::__private::manifest_len(&LIBRARY);

        extern "C" fn manifest_json() -> $crate::__private::RString {
            $crate::__private::manifest_text(&MANIFEST)
        }

        extern "C" fn create(
            name: $crate::__private::RStr<'_>,
            host: $crate::__private::HostObj,
            options: $crate::__private::RStr<'_>,
        ) -> $crate::__private::CreateResult {
            $(if name.as_str() == <$backend as $crate::__private::Exported>::INFO.name {
                return $crate::__private::create::<$backend>(host, options);
            })+
            $crate::__private::unknown_backend(name)
        }

        fn root() -> $crate::__private::RootRef {
            $crate::__private::root(manifest_json, create)
        }
    };
}

/// The same backends for a host that they are linked into, without a file: what [`export_backends!`] exports, as a
/// value. For tests of a host; several libraries may be linked into one program.
#[doc(hidden)]
#[macro_export]
macro_rules! __linked_backends {
    ($($backend:ty),+ $(,)?) => {{
        $crate::__library!($($backend),+);

        static MANIFEST: [u8; LENGTH] = $crate::__private::manifest::<LENGTH>(&LIBRARY);

        root()
    }};
}

/// Exports the backends of a library: `export_backends!(NexmoBackend, NexmoSandboxBackend);`, once per library. Each
/// type needs [`Backend`] and the [`macro@backend`] attribute on its impl.
///
/// If a file `<crate>.tape.toml` with the provider's answers lies in the same folder as `Cargo.toml`, it becomes part
/// of the library's manifest. `phone-verify plugin check` then finds it wherever the library is installed.
#[macro_export]
macro_rules! export_backends {
    ($($backend:ty),+ $(,)?) => {
        #[cfg(panic = "abort")]
        ::core::compile_error!(
            "a phone-verify backend cannot be built with panic = \"abort\": a panic would end the host. \
             Remove that line from the profile in Cargo.toml."
        );
        #[doc(hidden)]
        const _: () = {
            use $crate::__private as pv;

            $crate::__library!($($backend),+);

            #[used]
            #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__pv_plugin"))]
            #[cfg_attr(windows, unsafe(link_section = ".pvplug"))]
            #[cfg_attr(not(any(windows, target_vendor = "apple")), unsafe(link_section = ".pv_plugin"))]
            #[unsafe(export_name = "PHONE_VERIFY_MANIFEST")]
            static MANIFEST: [u8; LENGTH] = pv::manifest::<LENGTH>(&LIBRARY);

            extern "C" fn module() -> pv::RootModuleResult {
                pv::root_module(root)
            }

            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            static HEADER: pv::LibHeader = pv::header(module);
        };
    };
}
