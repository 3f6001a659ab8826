//! How one message is sent: through the backends that are there for it, one after the other, as long as certainly nothing
//! was sent and there is time; through the last of them a second time if another attempt may succeed.
//!
//! Invariants: a message whose outcome is not known is never tried again; each try has a deadline, and all of them have
//! one together; whatever the number of tries, the breaker of each backend hears of one outcome.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{Desk, turn::Turn};
use crate::{
    fleet::{Content, Member, Sms, Subject},
    model::{FailureClass, Origin, Outcome, SendFailure, Try},
    rules::failover::Failover,
    store::{Destination, Order, OutboxMessage},
};

/// The wait before the second try when the provider names none.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// The tries of one message.
pub(super) struct Tries<'a> {
    desk: &'a Desk,
    order: &'a Order,
    /// Each time that a backend was asked.
    made: Vec<Try>,
    /// The members that are not tried again, by name.
    done: Vec<Arc<str>>,
    subject: Subject,
}

/// What one member came to.
struct Came {
    /// Who it was in the end: a reload may have put another into its place.
    member: Arc<Member>,
    outcome: Outcome,
    /// Whether a backend was asked.
    was_asked: bool,
}

impl<'a> Tries<'a> {
    /// Of this message.
    pub(super) fn of(order: &'a Order, desk: &'a Desk) -> Self {
        Self {
            desk,
            order,
            made: Vec::new(),
            done: Vec::new(),
            subject: Subject::of(&order.message),
        }
    }

    /// Each time that a backend was asked.
    pub(super) fn made(self) -> Vec<Try> {
        self.made
    }

    /// Sends, through one backend after the other. Returns the one that was asked last, or else the one that would have
    /// been asked first.
    pub(super) async fn run(&mut self, first: Turn) -> (Arc<Member>, Outcome) {
        if self.time_left().is_zero() {
            return (first.member, Err(queue_timeout()));
        }
        let to = Destination::from(&self.order.message);
        let mut failover = Failover::default();
        let Turn { member, held, slot } = first;
        let mut last = self.through(member, held).await;
        drop(slot);
        // Whether the failure of `last` was judged before: it counts once, however many members after it are not asked.
        let mut is_judged = false;
        loop {
            let Err(failure) = &last.outcome else {
                return (last.member, last.outcome);
            };
            let destination = self.desk.fleet.fails_over_by_destination(to);
            if !is_judged && !failover.goes_on(failure.class, destination) {
                return (last.member, last.outcome);
            }
            is_judged = true;
            self.done.push(Arc::clone(last.member.name()));
            let time_left = || self.desk.time_left(self.order);
            let next = Turn::next(&self.desk.fleet, to, &mut self.done, time_left).await;
            let Some(Turn { member, held, slot }) = next else {
                return (last.member, last.outcome);
            };
            // That one is passed over is said once, where its breaker opens, and not for each message.
            if last.was_asked {
                tracing::warn!(
                    verification = %self.order.message.verification,
                    number = ?self.order.message.number,
                    backend = last.member.title(),
                    class = failure.class.as_str(),
                    origin = failure.origin.as_str(),
                    code = failure.code,
                    reason = failure.message,
                    next = member.title(),
                    "not sent, and given to the next backend"
                );
            }
            let came = self.through(member, held).await;
            drop(slot);
            // What a backend said is told, rather than that another one was left alone.
            if came.was_asked || !last.was_asked {
                last = came;
                is_judged = false;
            } else if came.outcome.is_err() {
                self.done.push(Arc::clone(came.member.name()));
            }
        }
    }

    /// Sends through one member, which is `held` until it has answered; and once more if another attempt may succeed,
    /// unless the next backend can have it.
    async fn through(&mut self, mut member: Arc<Member>, held: TaskTrackerToken) -> Came {
        let mut admitted = match member.breaker().admit(self.subject) {
            Ok(admitted) => admitted,
            Err(refused) => return Came::unasked(member, refused),
        };
        let before = self.made.len();
        let mut outcome = self.once(&member).await;
        // Not over the pause, which can be long: a reload would wait for it.
        drop(held);
        if let Err(failure) = &outcome {
            let pause = failure.retry_after.unwrap_or(RETRY_PAUSE);
            if self.may_wait(failure.class, &member) && pause < self.time_left() {
                sleep(pause).await;
                // The fleet may have been exchanged meanwhile, and no call begins in a member of the one before.
                let members = self.desk.fleet.members();
                let now = members.named(member.name()).map(|entry| &entry.member);
                if !now.is_some_and(|now| Arc::ptr_eq(now, &member)) {
                    member.breaker().record(&admitted, &outcome);
                    let again = now.and_then(|now| Some((now, now.breaker().admit(self.subject).ok()?)));
                    let Some((now, admitted_again)) = again else {
                        return Came {
                            member,
                            outcome,
                            was_asked: true,
                        };
                    };
                    admitted = admitted_again;
                    member = Arc::clone(now);
                }
                let _held = member.hold();
                outcome = self.once(&member).await;
            }
        }
        // Two tries of a message are one sign of the provider's health.
        member.breaker().record(&admitted, &outcome);
        Came {
            member,
            outcome,
            was_asked: self.made.len() > before,
        }
    }

    /// Whether the same member is tried again after a pause. What it cannot do at the moment, another backend may.
    fn may_wait(&self, class: FailureClass, member: &Member) -> bool {
        let to = Destination::from(&self.order.message);
        let is_other =
            |other: &Arc<Member>| other.name() != member.name() && !self.done.contains(other.name());
        let has_other = || {
            (0..)
                .map_while(|place| self.desk.fleet.nth(to, place))
                .any(|other| is_other(&other))
        };
        class.may_be_retried() && (class == FailureClass::Throttled || !has_other())
    }

    /// Asks a backend once.
    async fn once(&mut self, member: &Member) -> Outcome {
        let Desk { clock, metrics, .. } = self.desk;
        let OutboxMessage {
            id,
            number,
            text,
            locale,
            carries_code,
            ..
        } = &self.order.message;
        if let Err(wait) = member.lane().turn(self.time_left()).await {
            return Err(too_many_a_second(wait));
        }
        let usual_limit = member.lane().bounds().send_timeout;
        let time_limit = self.time_left().min(usual_limit);
        let sms = Sms {
            number,
            text,
            locale,
            key: id.to_string(),
            content: if *carries_code {
                Content::Code
            } else {
                Content::Text
            },
        };
        let began = clock.elapsed();
        let mut outcome = member.sender().send(sms, time_limit).await;
        let took = clock.elapsed().saturating_sub(began);
        metrics.tried(member, took);
        if let Err(failure) = &mut outcome
            && failure.class.blames_provider()
            && time_limit < usual_limit / 2
        {
            // It waited in the queue for so long that the provider had hardly any of its time.
            failure.origin = Origin::Host;
        }
        self.made
            .push(Try::of(member.backend(), &outcome, took).through(member.name()));
        outcome
    }

    fn time_left(&self) -> Duration {
        self.desk.time_left(self.order)
    }
}

impl Came {
    fn unasked(member: Arc<Member>, refused: SendFailure) -> Self {
        Self {
            member,
            outcome: Err(refused),
            was_asked: false,
        }
    }
}

fn queue_timeout() -> SendFailure {
    SendFailure::new(
        FailureClass::Transient,
        "queue_timeout",
        "the queue to the backend moves too slowly; nothing was sent",
    )
    .arisen_in(Origin::Host)
}

/// `wait`: until it could be sent.
fn too_many_a_second(wait: Duration) -> SendFailure {
    let mut failure = SendFailure::new(
        FailureClass::Throttled,
        "max_per_second",
        "more messages wait than max_per_second lets out in time; nothing was sent",
    )
    .arisen_in(Origin::Host);
    failure.retry_after = Some(wait);
    failure
}
