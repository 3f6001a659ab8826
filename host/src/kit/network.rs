//! The simulated provider of a check: it answers requests in the host's HTTP client, without a socket.
//!
//! Invariant: every exchange returns `Pending` exactly [`YIELDS`] times before it completes. Checks that cancel a call
//! at its n-th poll depend on it: the number of polls must be above zero and the same in each run.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use phone_verify_plugin_host::{Played, SentRequest, StandIn};

use super::{
    tape::{Aside, Bulk as BulkAnswer},
    wire,
};
use crate::model::PhoneNumber;

/// How many times an exchange is pending before it completes.
const YIELDS: u32 = 3;

/// What the provider does with a request.
#[derive(Clone, Debug)]
pub(super) enum Scene {
    /// It gives this answer.
    Plays(Played),
    /// It gives this answer after a delay.
    Late(Played, Duration),
    /// It never answers.
    Silence,
}

/// The simulated network of one check.
#[derive(Default)]
pub(super) struct Network {
    asides: Vec<Aside>,
    stage: Mutex<Stage>,
}

/// What the provider will do, and what it has seen.
#[derive(Default)]
struct Stage {
    /// The answer to every SMS that no rule below covers. `None`: an empty 200.
    then: Option<Scene>,
    /// Requests since the last call of [`Network::requests`].
    requests: Vec<SentRequest>,
    /// Whether there was any request but asides, ever.
    was_asked: bool,
    refuses: Option<Refused>,
    bulk: Option<Bulk>,
    /// Why the host's client refused requests, such as to a host that is not declared.
    denied: Vec<String>,
}

/// A number whose SMS the provider refuses.
struct Refused {
    digits: String,
    scene: Scene,
}

/// The numbers to look for in a request, and the answer when it names more than one.
struct Bulk {
    digits: Vec<String>,
    tape: BulkAnswer,
}

impl Network {
    pub(super) fn new(asides: Vec<Aside>) -> Arc<Self> {
        Arc::new(Self {
            asides,
            stage: Mutex::default(),
        })
    }

    /// From now on, every SMS gets this answer.
    pub(super) fn always(&self, scene: Scene) {
        let mut stage = self.stage();
        stage.then = Some(scene);
    }

    /// Removes and returns the requests since the last call, without asides (token requests and the like).
    pub(super) fn requests(&self) -> Vec<SentRequest> {
        std::mem::take(&mut self.stage().requests)
    }

    /// Whether the backend ever made a request that is not an aside.
    pub(super) fn was_asked(&self) -> bool {
        self.stage().was_asked
    }

    /// Gives this answer to every request that carries the number, alone or with others: a provider that takes several
    /// numbers in one request refuses that request as a whole, and refuses it again when it is repeated.
    pub(super) fn refuse_number(&self, number: &PhoneNumber, scene: Scene) {
        let digits = digits(number);
        self.stage().refuses = Some(Refused { digits, scene });
    }

    /// From now on, a request that names several of these numbers gets the `[bulk]` answer of the tape.
    pub(super) fn takes_bulk_of(&self, numbers: &[PhoneNumber], tape: BulkAnswer) {
        let digits = numbers.iter().map(digits).collect();
        self.stage().bulk = Some(Bulk { digits, tape });
    }

    /// Which requests were not admitted, and why.
    pub(super) fn denied(&self) -> Vec<String> {
        self.stage().denied.clone()
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scene(&self, request: SentRequest) -> Scene {
        if let Some(aside) = self.asides.iter().find(|aside| aside.is_for(&request)) {
            return Scene::Plays(aside.answer());
        }
        let mut stage = self.stage();
        stage.was_asked = true;
        let scene = stage.scene(&request);
        stage.requests.push(request);
        scene
    }
}

impl Stage {
    fn scene(&self, request: &SentRequest) -> Scene {
        if self.refuses.is_some() || self.bulk.is_some() {
            let texts = wire::texts(request);
            let carries = |digits: &String| texts.iter().any(|text| text.contains(digits.as_str()));
            let refused = self.refuses.as_ref().filter(|refused| carries(&refused.digits));
            if let Some(bulk) = &self.bulk
                && (refused.is_none() || bulk.tape.tells_each())
            {
                let named: Vec<&String> = bulk.digits.iter().filter(|digits| carries(digits)).collect();
                if named.len() > 1 {
                    let refused = refused.map(|refused| refused.digits.as_str());
                    return Scene::Plays(bulk.tape.answer(&named, refused));
                }
            }
            if let Some(refused) = refused {
                return refused.scene.clone();
            }
        }
        self.then.clone().unwrap_or(Scene::Plays(Played::Answer {
            status: 200,
            headers: Vec::new(),
            body: Vec::new(),
        }))
    }
}

/// A number without its plus sign, since providers differ in whether they want one.
fn digits(number: &PhoneNumber) -> String {
    number.e164().trim_start_matches('+').to_owned()
}

impl StandIn for Network {
    fn exchange(&self, request: SentRequest) -> Pin<Box<dyn Future<Output = Played> + Send>> {
        let scene = self.scene(request);
        Box::pin(async move {
            for _ in 0..YIELDS {
                yield_once().await;
            }
            match scene {
                Scene::Plays(played) => played,
                Scene::Late(played, after) => {
                    tokio::time::sleep(after).await;
                    played
                }
                Scene::Silence => std::future::pending().await,
            }
        })
    }

    /// Why requests were refused by the host's client, which allows only the hosts that a backend declares.
    fn denied(&self, why: &str) {
        self.stage().denied.push(why.to_owned());
    }
}

/// Pending once, with an immediate wake-up.
pub(super) async fn yield_once() {
    let mut is_over = false;
    poll_fn(|context| {
        if std::mem::replace(&mut is_over, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
