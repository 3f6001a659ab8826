//! The server of every gateway. It binds a loopback port, passes each request to the [`Provider`], and changes the
//! answer or the connection as the script says. It stops when the [`Gateway`] is dropped.

use std::{
    io::Write,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, DefaultBodyLimit, State},
    http::{HeaderMap, Method, Uri, header},
    response::Response,
    routing::post,
};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Map, Value};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot},
    task::JoinHandle,
};

use super::{
    behaviour::{Behaviour, Script, unpoisoned},
    inbox::{Inbox, Sms},
    line::{Cut, Entrance},
};

/// The size of the answer of [`Behaviour::HugeBody`].
const HUGE_BYTES: usize = 8 << 20;

/// The rules and texts of one provider.
pub trait Provider: Default + Send + Sync + 'static {
    /// The route of a send, in axum's notation.
    const ROUTE: &'static str;

    /// The `OPTIONS` with valid credentials for a backend.
    fn options(&self, base_url: &str) -> Map<String, Value>;

    /// Checks a request as the provider does. Returns the SMS, or the refusal.
    fn judge(&self, request: &Request) -> Result<Sms, Answer>;

    /// The answer to an accepted SMS.
    fn accepted(&self, sms: &Sms, request: &Request) -> Answer;

    /// The answer when the last of several parts was refused.
    fn accepted_but_last(&self, sms: &Sms, code: u32, request: &Request) -> Answer {
        let _ = sms;
        self.refused(code, request)
    }

    /// The refusal with a documented status or code.
    fn refused(&self, code: u32, request: &Request) -> Answer;

    /// The refusal of too many requests.
    fn throttled(&self, wait: Duration, request: &Request) -> Answer;

    /// The answer to a request that is no SMS, such as one for the balance.
    fn other(&self, request: &Request) -> Answer {
        let _ = request;
        Answer {
            status: 404,
            retry_after_s: None,
            body: Value::Null,
        }
    }
}

/// The parts of a request that a provider evaluates.
#[derive(Debug)]
pub struct Request {
    /// The HTTP method.
    pub method: String,
    /// The path of the URL.
    pub path: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The form-encoded body. Empty for any other body.
    pub form: Vec<(String, String)>,
    /// The JSON body. Null for any other body.
    pub json: Value,
}

impl Request {
    /// The first field of that name, if it is not empty.
    pub fn field(&self, name: &str) -> Option<&str> {
        let (_, value) = self.form.iter().find(|(known, _)| known == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }
}

/// The answer of a provider.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after_s: Option<u64>,
    /// The body.
    pub body: Value,
}

/// A simulated provider. It runs until it is dropped.
pub struct Gateway<P> {
    desk: Arc<Desk<P>>,
    address: SocketAddr,
    /// Dropping it stops the server.
    open: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl<P: Provider> Gateway<P> {
    /// Binds a free loopback port. Requests are answered when this returns.
    ///
    /// # Panics
    /// When no loopback port can be bound.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a free loopback port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let desk = Arc::new(Desk::default());
        let service = Router::new()
            .route(P::ROUTE, post(serve::<P>))
            .fallback(other::<P>)
            .layer(DefaultBodyLimit::max(1 << 20))
            .with_state(desk.clone())
            .into_make_service_with_connect_info::<Cut>();
        let entrance = Entrance {
            listener,
            script: desk.script.clone(),
        };
        let (open, closed) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            let stopped = axum::serve(entrance, service).with_graceful_shutdown(async {
                let _ = closed.await;
            });
            // The accept loop never returns an error.
            let _ = stopped.await;
        });
        Self {
            desk,
            address,
            open,
            server,
        }
    }

    /// Stops listening. When this returns, the port is closed and connections are refused.
    pub async fn shut_down(self) {
        drop(self.open);
        let _ = self.server.await;
    }

    /// `http://127.0.0.1:<port>`
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The `OPTIONS` with which a backend sends through this gateway, as in a settings file.
    pub fn options(&self) -> Map<String, Value> {
        self.desk.provider.options(&self.base_url())
    }

    /// Adds a behaviour to the queue. Each request takes one; without one, the gateway behaves normally.
    pub fn next(&self, behaviour: Behaviour) {
        self.desk.script.push(behaviour);
    }

    /// Refuses this number (E.164 with its plus sign) from now on, with this status or code.
    pub fn refuse_number(&self, number: &str, code: u32) {
        self.desk.script.refuse_number(number, code);
    }

    /// Answers one held request, or the next one that would be held ([`Behaviour::Hold`]).
    pub fn release(&self) {
        self.desk.releases.add_permits(1);
    }

    /// Every accepted SMS, oldest first.
    pub fn inbox(&self) -> Vec<Sms> {
        self.desk.inbox.all()
    }

    /// The oldest unread SMS to this number (E.164 with its plus sign). Waits up to 10 s for it.
    ///
    /// # Panics
    /// When none arrives.
    pub async fn sms_to(&self, number: &str) -> Sms {
        self.desk.inbox.next_to(number).await
    }

    /// The form of the last request, accepted or not.
    pub fn last_request(&self) -> Vec<(String, String)> {
        unpoisoned(&self.desk.latest).clone()
    }

    /// A header of the last request, accepted or not.
    pub fn last_header(&self, name: &str) -> Option<String> {
        let headers = unpoisoned(&self.desk.latest_headers);
        Some(headers.get(name)?.to_str().ok()?.to_owned())
    }

    /// The method and path of each request that was no SMS.
    pub fn other_requests(&self) -> Vec<String> {
        unpoisoned(&self.desk.others).clone()
    }

    /// How many requests have arrived, accepted or not.
    pub fn requests(&self) -> usize {
        self.desk.requests.load(Ordering::SeqCst)
    }
}

/// The state that all requests share.
#[derive(Default)]
struct Desk<P> {
    provider: P,
    inbox: Inbox,
    script: Arc<Script>,
    releases: Releases,
    requests: AtomicUsize,
    latest: Mutex<Vec<(String, String)>>,
    latest_headers: Mutex<HeaderMap>,
    others: Mutex<Vec<String>>,
}

/// A semaphore that starts closed.
struct Releases(Semaphore);

impl Default for Releases {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl std::ops::Deref for Releases {
    type Target = Semaphore;

    fn deref(&self) -> &Semaphore {
        &self.0
    }
}

impl<P: Provider> Desk<P> {
    fn answer(&self, request: &Request, behaviour: Behaviour) -> Answer {
        match behaviour {
            Behaviour::Throttle(wait) => return self.provider.throttled(wait, request),
            Behaviour::Refuse(code) => return self.provider.refused(code, request),
            Behaviour::HttpStatus(status) => {
                return Answer {
                    status,
                    retry_after_s: (status == 429).then_some(1),
                    body: Value::String("a proxy on the way says so".to_owned()),
                };
            }
            _ => {}
        }
        let sms = match self.provider.judge(request) {
            Ok(sms) => sms,
            Err(refusal) => return refusal,
        };
        if let Some(code) = self.script.refusal_of(&sms.to) {
            return self.provider.refused(code, request);
        }
        if let Behaviour::RefuseLastPart(code) = behaviour {
            return self.provider.accepted_but_last(&sms, code, request);
        }
        let answer = self.provider.accepted(&sms, request);
        self.inbox.put(sms);
        answer
    }
}

/// A request that is no SMS.
async fn other<P: Provider>(
    State(desk): State<Arc<Desk<P>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request = read(&method, &uri, &headers, &body);
    unpoisoned(&desk.others).push(format!("{method} {}", uri.path()));
    let answer = desk.provider.other(&request);
    Response::builder()
        .status(answer.status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(answer.body.to_string()))
        .expect("the status and the headers are valid")
}

fn read(method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Request {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(ToOwned::to_owned)
    };
    let is_form = text(header::CONTENT_TYPE)
        .is_some_and(|media_type| media_type.starts_with("application/x-www-form-urlencoded"));
    let form = if is_form { body.as_ref() } else { &[] };
    Request {
        method: method.to_string(),
        path: uri.path().to_owned(),
        authorization: text(header::AUTHORIZATION),
        form: form_urlencoded::parse(form).into_owned().collect(),
        json: serde_json::from_slice(body).unwrap_or_default(),
    }
}

async fn serve<P: Provider>(
    State(desk): State<Arc<Desk<P>>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    desk.requests.fetch_add(1, Ordering::SeqCst);
    let request = read(&method, &uri, &headers, &body);

    unpoisoned(&desk.latest).clone_from(&request.form);
    unpoisoned(&desk.latest_headers).clone_from(&headers);
    let behaviour = desk.script.pop();
    let answer = desk.answer(&request, behaviour);
    let mut body = answer.body.to_string();
    match behaviour {
        Behaviour::DropAfterReading => cut.now(),
        Behaviour::AnswerAfter(wait) => tokio::time::sleep(wait).await,
        Behaviour::Hold => {
            // The semaphore is never closed.
            if let Ok(permit) = desk.releases.acquire().await {
                permit.forget();
            }
        }
        Behaviour::BrokenJson => body.truncate(body.len() / 2),
        Behaviour::HugeBody => body.extend(std::iter::repeat_n(' ', HUGE_BYTES)),
        _ => {}
    }
    let mut body = body.into_bytes();
    if behaviour == Behaviour::Gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&body).expect("memory takes it");
        body = encoder.finish().expect("memory takes it");
    }
    let mut response = Response::builder()
        .status(answer.status)
        .header(header::CONTENT_TYPE, "application/json");
    if behaviour == Behaviour::Gzip {
        response = response.header(header::CONTENT_ENCODING, "gzip");
    }
    if let Some(seconds) = answer.retry_after_s {
        response = response.header(header::RETRY_AFTER, seconds);
    }
    response
        .body(Body::from(body))
        .expect("the status and the headers are valid")
}
