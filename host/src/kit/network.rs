//! The provider, as a check plays it.
//!
//! Invariant: an exchange is pending a few times before it is over, so that a backend can be dropped there; how often is
//! the same each time.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use super::{
    tape::{Aside, Bulk as BulkAnswer},
    wire,
};
use crate::{
    backends::{Played, SentRequest, StandIn},
    model::PhoneNumber,
};

/// How often an exchange is pending.
const YIELDS: u32 = 3;

/// What becomes of a request.
#[derive(Clone, Debug)]
pub(super) enum Scene {
    /// This comes back.
    Plays(Played),
    /// The same, after a while.
    Late(Played, Duration),
    /// Nothing ever comes back.
    Silence,
}

/// The network of one check.
#[derive(Default)]
pub(super) struct Network {
    asides: Vec<Aside>,
    stage: Mutex<Stage>,
}

#[derive(Default)]
struct Stage {
    then: Option<Scene>,
    requests: Vec<SentRequest>,
    was_asked: bool,
    refuses: Option<Refused>,
    bulk: Option<Bulk>,
    denied: Vec<String>,
}

/// The number that is refused.
struct Refused {
    digits: String,
    scene: Scene,
}

/// The numbers that a request may carry several of.
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

    /// Every SMS from now on meets this.
    pub(super) fn always(&self, scene: Scene) {
        let mut stage = self.stage();
        stage.then = Some(scene);
    }

    /// The requests since this was last asked that were no asides.
    pub(super) fn requests(&self) -> Vec<SentRequest> {
        std::mem::take(&mut self.stage().requests)
    }

    /// Whether there ever was a request that was no aside.
    pub(super) fn was_asked(&self) -> bool {
        self.stage().was_asked
    }

    /// Every request that carries this number meets this, however many others it carries: a provider that takes many at
    /// once refuses them at once, and again each time that the number is among them.
    pub(super) fn refuse_number(&self, number: &PhoneNumber, scene: Scene) {
        let digits = digits(number);
        self.stage().refuses = Some(Refused { digits, scene });
    }

    /// What is asked from now on may be about several of these numbers at once, and is answered as the tape says.
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

/// A number as every provider has it, with or without a plus before it.
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

    fn denied(&self, why: &str) {
        self.stage().denied.push(why.to_owned());
    }
}

/// Pending once, and woken at once.
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
