//! The host's HTTP clients: pools of connections that all backends share.
//!
//! Made at the first request, because the TLS roots cost memory and time that a daemon without a
//! request does not owe.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use reqwest::{
    Client, ClientBuilder,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use tokio::sync::OnceCell;

use super::{
    StandIn,
    egress::{Route, is_public},
};

/// Well below a call's deadline: when it strikes, nothing was sent, and the call can say so.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Both clients, made when they are needed.
#[derive(Default)]
pub(in crate::backends) struct Clients {
    public: OnceCell<Client>,
    trusted: OnceCell<Client>,
    stand_in: Option<Arc<dyn StandIn>>,
}

impl Clients {
    /// None at all: every exchange is played.
    pub(in crate::backends) fn played(stand_in: Arc<dyn StandIn>) -> Self {
        Self {
            stand_in: Some(stand_in),
            ..Self::default()
        }
    }

    pub(super) fn stand_in(&self) -> Option<&dyn StandIn> {
        self.stand_in.as_deref()
    }

    pub(super) async fn get(&self, route: Route) -> Result<&Client, reqwest::Error> {
        match route {
            Route::Public => {
                let make = || make(|builder| builder.dns_resolver(Arc::new(PublicOnly)));
                self.public.get_or_try_init(make).await
            }
            Route::Trusted => self.trusted.get_or_try_init(|| make(|builder| builder)).await,
        }
    }
}

/// Off the runtime's threads: reading the system's certificates takes milliseconds.
async fn make(special: fn(ClientBuilder) -> ClientBuilder) -> Result<Client, reqwest::Error> {
    let build = move || {
        // Whoever was first keeps its provider; they are all good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            special(Client::builder())
                .redirect(redirect::Policy::none())
                .no_proxy()
                .referer(false)
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_idle_timeout(IDLE_TIMEOUT)
                .user_agent(concat!("phone-verify/", env!("CARGO_PKG_VERSION")))
        };
        builder().build().or_else(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no trusted certificates, so that no https request can succeed; install the system's CA certificates"
            );
            builder().tls_certs_only([]).build()
        })
    };
    match tokio::task::spawn_blocking(build).await {
        Ok(client) => client,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// The system's resolver, without private addresses: what a name resolves to is not the backend's to choose.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = addresses.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(PrivateOnly.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// A name resolved to private addresses only.
#[derive(Debug)]
pub(super) struct PrivateOnly;

impl fmt::Display for PrivateOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name resolves to a private address")
    }
}

impl std::error::Error for PrivateOnly {}
