//! The provider, as a check plays it.
//!
//! Invariant: an exchange is pending a few times before it is over, so that a backend can be dropped there; how often is
//! the same each time.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use super::tape::Aside;
use crate::backends::{Played, SentRequest, StandIn};

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
    next: VecDeque<Scene>,
    then: Option<Scene>,
    requests: Vec<SentRequest>,
    denied: Vec<String>,
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
        stage.next.clear();
        stage.then = Some(scene);
    }

    /// The next SMS meets this, before what they always meet.
    pub(super) fn next(&self, scene: Scene) {
        self.stage().next.push_back(scene);
    }

    /// The requests since this was last asked that were no asides.
    pub(super) fn requests(&self) -> Vec<SentRequest> {
        std::mem::take(&mut self.stage().requests)
    }

    /// Which requests were not admitted, and why.
    pub(super) fn denied(&self) -> Vec<String> {
        self.stage().denied.clone()
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scene(&self, request: SentRequest) -> Scene {
        if let Some(aside) = self.asides.iter().find(|aside| request.url.contains(&aside.url)) {
            return Scene::Plays(aside.answer());
        }
        let mut stage = self.stage();
        stage.requests.push(request);
        let next = stage.next.pop_front();
        next.or_else(|| stage.then.clone())
            .unwrap_or(Scene::Plays(Played::Answer {
                status: 200,
                headers: Vec::new(),
                body: Vec::new(),
            }))
    }
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
