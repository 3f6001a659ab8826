//! A network in which the provider is reachable through a proxy only: a real proxy on a loopback port that accepts
//! CONNECT for any host, and behind it a provider with real TLS under its own certificate authority.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

/// The proxy and the provider behind it. Both stop with the runtime of the test.
pub struct Proxy {
    address: SocketAddr,
    authority: Authority,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// One request to the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The request line without the protocol: `CONNECT rest.nexmo.com:443`.
    pub what: String,
    /// The header `Proxy-Authorization`.
    pub credentials: Option<String>,
}

/// What proxy and provider require of a client.
#[derive(Clone, Copy, Default)]
pub struct Wants {
    /// Required credentials (`Basic …`). A request without them gets status 407.
    pub credentials: Option<&'static str>,
    /// Whether the provider requires a client certificate of its authority.
    pub client_certificate: bool,
}

struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let issuer = Issuer::new(parameters, key);
        Self { certificate, issuer }
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let parameters = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate, key)
    }
}

impl Proxy {
    /// Starts a proxy. For any requested host, the server at `provider` answers, with a certificate for `host`.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(provider: SocketAddr, host: &str, wants: Wants) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authority = Authority::new();
        let (certificate, key) = authority.issue(host);
        let builder = ServerConfig::builder();
        let builder = if wants.client_certificate {
            let mut roots = RootCertStore::empty();
            roots.add(authority.certificate.der().clone()).expect("a root");
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
            builder.with_client_cert_verifier(verifier.expect("a root is enough"))
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let tls = builder.with_single_cert(vec![certificate.der().clone()], key);
        let tls = TlsAcceptor::from(Arc::new(tls.expect("a good certificate")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let requests = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (tls, requests) = (tls.clone(), Arc::clone(&requests));
                tokio::spawn(async move {
                    // Errors are expected: a client may close its connection at any time.
                    let _ = serve(client, provider, &tls, wants, &requests).await;
                });
            }
        });
        Self {
            address,
            authority,
            asked,
        }
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate of the provider's authority, in PEM.
    pub fn authority_pem(&self) -> String {
        self.authority.certificate.pem()
    }

    /// A client certificate that the provider accepts, and its key, in PEM.
    pub fn client_pem(&self) -> (String, String) {
        let (certificate, key) = self.authority.issue("client.example");
        (certificate.pem(), key.serialize_pem())
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        unpoisoned(&self.asked).clone()
    }
}

async fn serve(
    client: TcpStream,
    provider: SocketAddr,
    tls: &TlsAcceptor,
    wants: Wants,
    requests: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if client.read_line(&mut line).await? == 0 || line == "\r\n" {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let what = lines.first().and_then(|line| line.rsplit_once(' '));
    let what = what.map_or("", |(what, _protocol)| what).to_owned();
    let credentials = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("proxy-authorization")
            .then(|| value.to_owned())
    });
    let is_welcome = wants
        .credentials
        .is_none_or(|wanted| credentials.as_deref() == Some(wanted));
    let is_tunnel = what.starts_with("CONNECT ");
    unpoisoned(requests).push(Asked { what, credentials });
    if !is_welcome {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
        return client.write_all(refusal).await;
    }
    if !is_tunnel {
        let refusal = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        return client.write_all(refusal).await;
    }
    client
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await?;
    let mut inside = tls.accept(client).await?;
    let mut provider = TcpStream::connect(provider).await?;
    copy_bidirectional(&mut inside, &mut provider).await?;
    Ok(())
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
