//! The HTTP client of the tests.

/// A client with its own connection pool that ignores proxy variables and follows no redirects.
///
/// # Panics
/// When the client cannot be built, which does not happen without certificates.
pub fn http_client() -> reqwest::Client {
    // Fails if a provider is installed already, and any provider will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client without certificates of its own")
}
