//! A network that reaches a provider through a proxy alone: a real proxy on a loopback port, which takes CONNECT for any
//! host, and a provider's server behind it that speaks real TLS under a certificate authority of its own.

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

/// The proxy and what is behind it. It ends with the runtime of its test.
pub struct Proxy {
    address: SocketAddr,
    authority: Authority,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// What a client asked the proxy for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `CONNECT rest.nexmo.com:443`, without the protocol.
    pub what: String,
    /// Its `Proxy-Authorization`.
    pub credentials: Option<String>,
}

/// What the proxy and the provider want of a client.
#[derive(Clone, Copy, Default)]
pub struct Wants {
    /// `Basic …`: without it the proxy answers with status 407.
    pub credentials: Option<&'static str>,
    /// The provider refuses connections of clients without a certificate of its authority.
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
    /// Whatever host is asked for, what answers is the server at `provider`, under the name `host`.
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
                    // A client may go away at any time.
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate that vouches for the provider, in PEM.
    pub fn authority_pem(&self) -> String {
        self.authority.certificate.pem()
    }

    /// A certificate that the provider accepts of a client, and its key, in PEM.
    pub fn client_pem(&self) -> (String, String) {
        let (certificate, key) = self.authority.issue("client.example");
        (certificate.pem(), key.serialize_pem())
    }

    /// What it was asked for until now.
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
