//! A daemon that is killed again and again under load: what it said is true afterwards, and nothing happens twice.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use phone_verify_tests::{client::http_client, gateways::NexmoGateway, site::Site};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// How often it is killed.
const ROUNDS: usize = 50;
const CLIENTS: usize = 8;
/// How long a daemon lives at most once it listens. Long enough for some hundred requests.
const LIFE: Duration = Duration::from_millis(80);
const MAX_FAILED_ATTEMPTS: usize = 5;
/// A message is leased twice at most: to the process that died, and to the next.
const MOST_SMS: usize = 2;

/// A registration that was acknowledged.
#[derive(Clone)]
struct Session {
    number: String,
    token: String,
    /// Its code was said to be good.
    used: bool,
    /// It was asked whether its code is good, and the daemon died before it answered.
    in_doubt: bool,
}

/// What is known outside of the daemon, which outlives it.
#[derive(Default)]
struct Ledger {
    /// Sessions whose SMS has been read.
    to_check: VecDeque<Session>,
    /// Sessions of this round.
    fresh: Vec<Session>,
    /// Sessions whose code was used, as was found once more after that.
    done: usize,
    registered: u32,
    codes: HashMap<String, String>,
    /// Sessions at whose codes somebody guesses, and how many guesses were judged.
    guessed: Vec<(Session, usize)>,
}

/// Somebody with a telephone, as long as the daemon answers.
struct Client {
    http: reqwest::Client,
    address: String,
    ledger: Arc<Mutex<Ledger>>,
}

impl Client {
    /// `None`: the daemon was killed before the answer was whole.
    async fn post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let request = self.http.post(format!("{}{path}", self.address)).json(body);
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.ok()?))
    }

    /// `None`: the daemon is dead.
    async fn register(&self) -> Option<()> {
        let number = {
            let mut ledger = self.ledger.lock().unwrap();
            ledger.registered += 1;
            format!("+1347{:07}", 2_000_000 + ledger.registered)
        };
        let (status, body) = self
            .post("/api/phone/register", &json!({ "phone_number": number }))
            .await?;
        if status == 200 {
            self.ledger.lock().unwrap().fresh.push(Session {
                token: body["session_token"].as_str().unwrap().to_owned(),
                number,
                used: false,
                in_doubt: false,
            });
        }
        Some(())
    }

    /// `None`: the daemon is dead.
    async fn check(&self, mut session: Session) -> Option<()> {
        let code = self.ledger.lock().unwrap().codes[&session.number].clone();
        let Session { number, token, .. } = &session;
        let body = json!({ "phone_number": number, "session_token": token, "security_code": code });
        let answer = self.post("/api/phone/verify", &body).await;
        let (is_good, is_used) = match &answer {
            None => (false, false),
            Some((200, _)) => (true, false),
            Some((_, body)) => (false, body["code"] == "security_code_already_verified"),
        };
        let mut ledger = self.ledger.lock().unwrap();
        match (is_good, is_used) {
            (true, _) => assert!(!session.used, "a code was good twice"),
            (_, true) => assert!(session.used || session.in_doubt, "a code was used by nobody"),
            _ => assert!(
                answer.is_none(),
                "an acknowledged registration cannot be verified: {answer:?}"
            ),
        }
        if is_used {
            ledger.done += 1;
        } else {
            session.used |= is_good;
            session.in_doubt |= answer.is_none();
            ledger.to_check.push_back(session);
        }
        answer.map(|_| ())
    }

    /// Guesses at somebody's code. `None`: the daemon is dead.
    async fn guess(&self) -> Option<()> {
        let (place, body) = {
            let ledger = self.ledger.lock().unwrap();
            if ledger.guessed.is_empty() {
                return Some(());
            }
            let place = fastrand::usize(..ledger.guessed.len());
            let Session { number, token, .. } = &ledger.guessed[place].0;
            let body = json!({ "phone_number": number, "session_token": token, "security_code": "wrong" });
            (place, body)
        };
        let (_, answer) = self.post("/api/phone/verify", &body).await?;
        if answer["code"] == "security_code_invalid" {
            let judged = &mut self.ledger.lock().unwrap().guessed[place].1;
            *judged += 1;
            assert!(*judged <= MAX_FAILED_ATTEMPTS, "a restart forgave a wrong code");
        }
        Some(())
    }

    /// Registers, checks and guesses in turn until the daemon is dead.
    async fn live(self) {
        loop {
            let session = self.ledger.lock().unwrap().to_check.pop_front();
            if let Some(session) = session
                && self.check(session).await.is_none()
            {
                return;
            }
            if self.register().await.is_none() || self.guess().await.is_none() {
                return;
            }
        }
    }
}

/// The file is whole.
fn assert_sound(site: &Site) {
    let database = rusqlite::Connection::open(site.path("phone-verify.db")).unwrap();
    let sound: String = database
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
}

/// Reads every phone: a code each, however often it came.
fn read_phones(gateway: &NexmoGateway, ledger: &mut Ledger) {
    let mut texts: HashMap<String, Vec<String>> = HashMap::new();
    for sms in gateway.inbox() {
        texts.entry(sms.to).or_default().push(sms.text);
    }
    for (number, texts) in texts {
        assert!(texts.len() <= MOST_SMS, "{number} got {} SMS", texts.len());
        assert!(
            texts.iter().all(|text| *text == texts[0]),
            "{number} got several codes"
        );
        let code = texts[0].chars().filter(char::is_ascii_digit).collect();
        ledger.codes.insert(number, code);
    }
    let mut fresh = std::mem::take(&mut ledger.fresh);
    ledger.guessed.extend(fresh.pop().map(|session| (session, 0)));
    ledger.to_check.extend(fresh);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_daemon_acknowledged_before_it_was_killed_is_true_afterwards() {
    let gateway = NexmoGateway::start().await;
    let mut site = Site::with_backend("nexmo.NexmoBackend", &Value::Object(gateway.options()));
    // So that leases lapse, and messages are sent again, while this goes on.
    site.set("dispatch", "send_timeout_seconds", 1)
        .set("dispatch", "total_timeout_seconds", 1);
    let ledger = Arc::<Mutex<Ledger>>::default();
    for _ in 0..ROUNDS {
        let daemon = site.serve();
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let client = Client {
                http: http_client(),
                address: format!("http://{}", daemon.address()),
                ledger: Arc::clone(&ledger),
            };
            clients.spawn(client.live());
        }
        tokio::time::sleep(LIFE.mul_f64(fastrand::f64())).await;
        daemon.signal(Signal::KILL);
        while let Some(ended) = clients.join_next().await {
            ended.unwrap();
        }
        daemon.wait();
        read_phones(&gateway, &mut ledger.lock().unwrap());
    }

    // The last one lives on: it finds all that the others left.
    let daemon = site.serve();
    assert_sound(&site);
    let client = Client {
        http: http_client(),
        address: format!("http://{}", daemon.address()),
        ledger: Arc::clone(&ledger),
    };
    loop {
        let Some(session) = client.ledger.lock().unwrap().to_check.pop_front() else {
            break;
        };
        client.check(session).await.expect("this daemon is not killed");
    }
    let (status, log) = daemon.stop();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_sound(&site);
    let ledger = ledger.lock().unwrap();
    read_phones(&gateway, &mut Ledger::default());
    assert!(ledger.guessed.iter().any(|(_, judged)| *judged > 1));
    assert!(
        ledger.done >= ROUNDS,
        "only {} registrations were acknowledged",
        ledger.done
    );
}
