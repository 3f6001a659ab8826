//! The HTTP client of the tests: plain, straight to the loopback, with nothing of its own to say.

/// A client of its own connection pool that ignores the proxies of the environment.
///
/// # Panics
/// When the client cannot be built, which a loopback client always can.
pub fn http_client() -> reqwest::Client {
    // An error says that a provider is installed already; any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client without certificates of its own")
}
