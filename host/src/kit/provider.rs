//! `phone-verify plugin serve-tape`: an HTTP server on this machine that answers from a tape. It lets an author try a
//! whole registration through the daemon without an account at the provider.
//!
//! Invariant: it listens on the loopback interface only, and shows nothing of a request but its method, path and
//! answer. Headers, query and body hold keys, phone numbers and codes.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, Response, StatusCode, Uri},
};
use phone_verify_plugin_host::{LibraryReport, Played, SentRequest};
use tokio::net::TcpListener;

use super::{
    tape::{self, Tape},
    wire,
};

/// The largest request body, in bytes: the same as the host's bound for a provider's answer.
const MAX_REQUEST_BYTES: usize = 1 << 20;
/// How many digits a text needs to be taken for a phone number. E.164 allows at most 15.
const NUMBER_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// A tape that can be served, not listening yet.
pub struct Provider {
    tape: Tape,
    /// Index of the refusal that answers every SMS. `None`: the provider accepts each.
    refusal: Option<usize>,
    /// The backend that the tape is for, such as `acme.AcmeBackend`. From the manifest, or guessed from the file name.
    pub backend: String,
}

/// A provider with its socket bound.
pub struct Listening {
    listener: TcpListener,
    provider: Arc<Provider>,
}

/// One request and its answer, reduced to what may be shown.
pub struct Exchange {
    /// The method, such as `POST`.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The status of the answer.
    pub status: u16,
    /// The part of the tape that answered: `success`, `bulk`, `aside` or `refusal: <name>`.
    pub part: String,
}

impl Provider {
    /// Reads a tape from its file, or from the manifest of a library without running any of it. `refusal`: the name of
    /// the refusal that answers every SMS.
    ///
    /// # Errors
    /// A sentence for the author.
    pub fn read(file: &Path, refusal: Option<&str>) -> Result<Self, String> {
        let (tape, backend) = match LibraryReport::of_file(file) {
            Some(report) => carried(file, report)?,
            None => (tape::read(file)?, guessed(file)),
        };
        let refusal = match refusal {
            None => None,
            Some(name) => Some(position(&tape, name)?),
        };
        Ok(Self {
            tape,
            refusal,
            backend,
        })
    }

    /// Binds to the loopback interface. Port 0: any free port.
    ///
    /// # Errors
    /// The system's error, such as that the port is in use.
    pub async fn listen(self, port: u16) -> io::Result<Listening> {
        Ok(Listening {
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?,
            provider: Arc::new(self),
        })
    }

    /// The answer to a request, and the part of the tape it comes from.
    fn answer(&self, request: &SentRequest) -> (Played, String) {
        let aside = self.tape.aside.iter().find(|aside| aside.is_for(request));
        if let Some(aside) = aside {
            return (aside.answer(), "aside".to_owned());
        }
        if let Some(refusal) = self.refusal.and_then(|at| self.tape.refusal.get(at)) {
            return (refusal.answer(), format!("refusal: {}", refusal.name));
        }
        if let Some(bulk) = &self.tape.bulk {
            let numbers = numbers(request);
            if numbers.len() > 1 {
                let numbers: Vec<&String> = numbers.iter().collect();
                return (bulk.answer(&numbers, None), "bulk".to_owned());
            }
        }
        (self.tape.success.answer(), "success".to_owned())
    }
}

impl Listening {
    /// The address it listens on.
    ///
    /// # Errors
    /// The system's error.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers requests until the process ends, and calls `shows` after each exchange.
    ///
    /// # Errors
    /// When the socket can accept no more connections.
    pub async fn serve(self, shows: impl Fn(&Exchange) + Send + Sync + 'static) -> io::Result<()> {
        let stage = Arc::new(Stage {
            provider: self.provider,
            shows: Box::new(shows),
        });
        let router = Router::new()
            .fallback(exchange)
            .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
            .with_state(stage);
        axum::serve(self.listener, router).await
    }
}

/// What the handler needs.
struct Stage {
    provider: Arc<Provider>,
    shows: Box<dyn Fn(&Exchange) + Send + Sync>,
}

async fn exchange(
    State(stage): State<Arc<Stage>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let host = headers
        .get("host")
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let request = SentRequest {
        method: method.to_string(),
        url: format!("http://{host}{uri}"),
        headers: headers
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect(),
        body: body.to_vec(),
    };
    let (played, part) = stage.provider.answer(&request);
    let response = response(played);
    (stage.shows)(&Exchange {
        method: request.method,
        path: uri.path().to_owned(),
        status: response.status().as_u16(),
        part,
    });
    response
}

/// The HTTP response for an answer of the tape. A tape can hold what HTTP cannot express; that becomes a 500 with the
/// reason.
fn response(played: Played) -> Response<Body> {
    let broken = |why: &str| {
        let mut response = Response::new(Body::from(format!("the tape has {why}")));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    };
    let Played::Answer {
        status,
        headers,
        body,
    } = played
    else {
        return broken("no answer");
    };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response
        .body(Body::from(body))
        .unwrap_or_else(|error| broken(&format!("an answer that HTTP does not have: {error}")))
}

/// The phone numbers in a request, as digits without a plus: every text that could be one by its length.
fn numbers(request: &SentRequest) -> BTreeSet<String> {
    let texts = wire::texts(request);
    let digits = texts.iter().map(|text| text.trim_start_matches('+'));
    digits
        .filter(|text| NUMBER_DIGITS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()))
        .map(str::to_owned)
        .collect()
}

/// The tape in a library's manifest, and the backend that it is for: the first that is not a sandbox.
fn carried(file: &Path, report: LibraryReport) -> Result<(Tape, String), String> {
    let shown = file.display();
    if let Some(refusal) = report.refusal {
        return Err(refusal.to_string());
    }
    let about = report.about.ok_or_else(|| format!("{shown} cannot be read"))?;
    let text = about.tape.ok_or_else(|| {
        format!(
            "{shown} carries no tape; name the file of one, {}.tape.toml",
            report.library
        )
    })?;
    let tape = tape::parse(&text, &format!("the tape that {shown} carries"))?;
    let backends = about.backends;
    let first = backends
        .iter()
        .find(|backend| !backend.sandbox)
        .or(backends.first());
    Ok((
        tape,
        first.map_or_else(String::new, |backend| backend.name.clone()),
    ))
}

/// The name that `plugin new` gives to the backend of a file `acme.tape.toml`: `acme.AcmeBackend`.
fn guessed(file: &Path) -> String {
    let name = PathBuf::from(file.file_name().unwrap_or_default());
    let name = name.to_string_lossy();
    let library = name.split('.').next().unwrap_or_default();
    let words = library.split('_').map(|word| {
        let mut characters = word.chars();
        let first = characters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(characters).collect::<String>()
    });
    format!("{library}.{}Backend", words.collect::<String>())
}

/// The index of the refusal with this name.
fn position(tape: &Tape, name: &str) -> Result<usize, String> {
    let names: Vec<&str> = tape.refusal.iter().map(|refusal| refusal.name.as_str()).collect();
    names.iter().position(|known| *known == name).ok_or_else(|| {
        let known = if names.is_empty() {
            "it has none".to_owned()
        } else {
            format!("there are {}", names.join(", "))
        };
        format!("the tape has no refusal {name:?}; {known}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(text: &str, refusal: Option<&str>) -> Result<Provider, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("best_sms.tape.toml");
        std::fs::write(&file, text).unwrap();
        Provider::read(&file, refusal)
    }

    const TAPE: &str = "[success]\nstatus = 202\n[[refusal]]\nname = \"poor\"\nstatus = 402\nclass = \"no_credit\"\n\
        [[aside]]\nurl = \"/token\"\nstatus = 200\n[bulk]\nstatus = 207\nbody = '[{each}]'\neach = '\"{number}\"'\n";

    fn answered(provider: &Provider, url: &str, body: &str) -> (u16, String) {
        let request = SentRequest {
            method: "POST".to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        };
        let Played::Answer { status, body, .. } = provider.answer(&request).0 else {
            panic!("no answer");
        };
        (status, String::from_utf8(body).unwrap())
    }

    #[test]
    fn each_request_meets_its_part_of_the_tape() {
        let takes = provider(TAPE, None).unwrap();
        assert_eq!(takes.backend, "best_sms.BestSmsBackend");
        assert_eq!(answered(&takes, "http://a/token", "").0, 200);
        assert_eq!(
            answered(
                &takes,
                "http://a/sms",
                "to=%2B13478379634&text=Your+code+is+123456"
            )
            .0,
            202
        );
        let bulk = answered(
            &takes,
            "http://a/sms",
            r#"{"to": ["+13478379634", "+13478379635"]}"#,
        );
        assert_eq!(bulk, (207, "[\"13478379634\",\"13478379635\"]".to_owned()));

        let refuses = provider(TAPE, Some("poor")).unwrap();
        assert_eq!(answered(&refuses, "http://a/sms", "").0, 402);
        assert_eq!(answered(&refuses, "http://a/token", "").0, 200);
        let problem = provider(TAPE, Some("rich")).err().unwrap();
        assert_eq!(problem, "the tape has no refusal \"rich\"; there are poor");
    }
}
