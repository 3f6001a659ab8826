//! The host's HTTP clients: pools of connections that all backends share.
//!
//! Made at the first request, because the TLS roots cost memory and time that a daemon without a
//! request does not owe.

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::{
    Client, ClientBuilder, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{ACCEPT_ENCODING, HeaderMap, HeaderValue},
    redirect,
};
use tokio::sync::OnceCell;

use super::{
    Outbound, StandIn,
    egress::{Route, is_public},
    outbound::{ClientCertificate, Proxy},
};

/// Well below a call's deadline: when it strikes, nothing was sent, and the call can say so.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The clients, each made when it is needed: there are no more than ways that the settings can name.
#[derive(Default)]
pub(crate) struct Clients {
    outbound: Outbound,
    made: Mutex<HashMap<Kind, Arc<OnceCell<Client>>>>,
    stand_in: Option<Arc<dyn StandIn>>,
}

/// What tells one client from another.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Kind {
    route: Route,
    proxy: Option<Url>,
    /// By its place in the settings.
    certificate: Option<usize>,
}

/// How a request gets where it goes.
pub(super) struct Way<'a> {
    pub(super) route: Route,
    pub(super) proxy: Option<&'a Proxy>,
    certificate: Option<(usize, &'a ClientCertificate)>,
}

impl Clients {
    /// Those that go through what the settings name.
    pub(crate) fn through(outbound: Outbound) -> Self {
        Self {
            outbound,
            ..Self::default()
        }
    }

    /// None at all: every exchange is played.
    pub(crate) fn played(stand_in: Arc<dyn StandIn>) -> Self {
        Self {
            stand_in: Some(stand_in),
            ..Self::default()
        }
    }

    /// The same connections again, if they go through the same.
    pub(crate) fn changed_to(self: &Arc<Self>, outbound: &Outbound) -> Arc<Self> {
        if self.stand_in.is_some() || self.outbound == *outbound {
            return Arc::clone(self);
        }
        Arc::new(Self::through(outbound.clone()))
    }

    pub(super) fn stand_in(&self) -> Option<&dyn StandIn> {
        self.stand_in.as_deref()
    }

    pub(super) fn way(&self, route: Route, url: &Url) -> Way<'_> {
        let mut certificates = self.outbound.certificates.iter().enumerate();
        Way {
            route,
            proxy: self.outbound.proxies.on_the_way_to(url),
            certificate: certificates.find(|(_, certificate)| certificate.is_for(url)),
        }
    }

    pub(super) async fn get(&self, way: &Way<'_>) -> Result<Client, reqwest::Error> {
        let kind = Kind {
            route: way.route,
            proxy: way.proxy.map(|proxy| proxy.url().clone()),
            certificate: way.certificate.map(|(at, _)| at),
        };
        let cell = {
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(made.entry(kind.clone()).or_default())
        };
        let certificate = way.certificate.map(|(_, certificate)| certificate.clone());
        let client = cell
            .get_or_try_init(|| make(move || special(&kind, certificate.as_ref())))
            .await?;
        Ok(client.clone())
    }
}

/// What one kind of clients has of its own.
fn special(kind: &Kind, certificate: Option<&ClientCertificate>) -> Result<ClientBuilder, reqwest::Error> {
    let mut builder = Client::builder();
    builder = match &kind.proxy {
        Some(proxy) => builder.proxy(reqwest::Proxy::all(proxy.clone())?),
        None => builder.no_proxy(),
    };
    // With a proxy the resolver is asked for that alone, which may be anywhere; `egress` judges the name.
    if kind.route == Route::Public && kind.proxy.is_none() {
        builder = builder.dns_resolver(Arc::new(PublicOnly));
    }
    match certificate {
        Some(certificate) => Ok(builder.identity(certificate.identity()?)),
        None => Ok(builder),
    }
}

/// Off the runtime's threads: reading the system's certificates takes milliseconds.
async fn make(
    special: impl Fn() -> Result<ClientBuilder, reqwest::Error> + Send + 'static,
) -> Result<Client, reqwest::Error> {
    let build = move || {
        // Whoever was first keeps its provider; they are all good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            let uncoded = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
            let builder = special()?
                .redirect(redirect::Policy::none())
                .default_headers(uncoded)
                .referer(false)
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_idle_timeout(IDLE_TIMEOUT)
                .user_agent(concat!("phone-verify/", env!("CARGO_PKG_VERSION")));
            Ok::<_, reqwest::Error>(builder)
        };
        builder()?.build().or_else(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no trusted certificates, so that no https request can succeed; install the system's CA certificates"
            );
            builder()?.tls_certs_only([]).build()
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
