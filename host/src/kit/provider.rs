//! A tape, played as a provider on this machine: `phone-verify plugin serve-tape`. So an author sees a registration go
//! through the daemon without an account at the provider.
//!
//! Invariant: it listens on the loopback interface alone, and shows nothing of a request but its method, its path and its
//! answer: the rest holds keys, numbers and codes.

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
use tokio::net::TcpListener;

use super::{
    tape::{self, Tape},
    wire,
};
use crate::backends::{LibraryReport, Played, SentRequest};

/// As much as an answer of a provider may have.
const MAX_REQUEST_BYTES: usize = 1 << 20;
/// Of a phone number, by E.164.
const NUMBER_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// A provider that is not listening yet.
pub struct Provider {
    tape: Tape,
    /// The refusal that every SMS meets; `None`: each is taken.
    refusal: Option<usize>,
    /// `acme.AcmeBackend`, as far as that can be told.
    pub backend: String,
}

/// One that listens.
pub struct Listening {
    listener: TcpListener,
    provider: Arc<Provider>,
}

/// What became of one request, to be shown.
pub struct Exchange {
    /// `POST`.
    pub method: String,
    /// Without its query.
    pub path: String,
    /// Of the answer.
    pub status: u16,
    /// Which part of the tape it is.
    pub part: String,
}

impl Provider {
    /// Reads a tape, or that of a library; nothing of the library runs. `refusal`: the name of the one that every SMS meets.
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

    /// Listens on the loopback interface; port 0: any that is free.
    ///
    /// # Errors
    /// What the system says, such as that the port is taken.
    pub async fn listen(self, port: u16) -> io::Result<Listening> {
        Ok(Listening {
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?,
            provider: Arc::new(self),
        })
    }

    /// The answer to a request, and which part of the tape it is.
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
    /// Where.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the process ends. `shows` hears of each exchange.
    ///
    /// # Errors
    /// When no connection can be taken any more.
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

/// The phone numbers that a request names, as digits alone.
fn numbers(request: &SentRequest) -> BTreeSet<String> {
    let texts = wire::texts(request);
    let digits = texts.iter().map(|text| text.trim_start_matches('+'));
    digits
        .filter(|text| NUMBER_DIGITS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()))
        .map(str::to_owned)
        .collect()
}

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

/// What `plugin new` would call the backend of `acme.tape.toml`.
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
