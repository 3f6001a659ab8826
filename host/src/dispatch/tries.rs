//! How one message is sent: a first try, and a second one if certainly nothing was sent and there is time.
//!
//! Invariants: a message whose outcome is not known is never tried again; each try has a deadline, and all of them have
//! one together; whatever the number of tries, a breaker hears of one outcome.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::Desk;
use crate::{
    fleet::{Member, Sms},
    model::{FailureClass, Origin, Outcome, SendFailure, Try},
    store::{Order, OutboxMessage},
};

/// The wait before the second try when the provider names none.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// The tries of one message.
pub(super) struct Tries<'a> {
    desk: &'a Desk,
    order: &'a Order,
    /// Each time that a backend was asked.
    made: Vec<Try>,
}

impl<'a> Tries<'a> {
    /// Of this message.
    pub(super) fn of(order: &'a Order, desk: &'a Desk) -> Self {
        Self {
            desk,
            order,
            made: Vec::new(),
        }
    }

    /// Each time that a backend was asked.
    pub(super) fn made(self) -> Vec<Try> {
        self.made
    }

    /// Sends, and once more if certainly nothing was sent and there is time. Returns the backend that was asked last,
    /// or would have been. The member is `held` until it has answered.
    pub(super) async fn run(
        &mut self,
        mut member: Arc<Member>,
        held: TaskTrackerToken,
    ) -> (Arc<str>, Outcome) {
        if self.time_left().is_zero() {
            return (Arc::clone(member.backend()), Err(queue_timeout()));
        }
        let mut admitted = match member.breaker().admit() {
            Ok(admitted) => admitted,
            Err(refused) => return (Arc::clone(member.backend()), Err(refused)),
        };
        let mut outcome = self.once(&member).await;
        // Not over the pause, which can be long: a reload would wait for it.
        drop(held);
        if let Err(failure) = &outcome {
            let pause = failure.retry_after.unwrap_or(RETRY_PAUSE);
            if failure.class.may_be_retried() && pause < self.time_left() {
                sleep(pause).await;
                // The fleet may have been exchanged meanwhile, and no call begins in a member of the one before.
                let now = self.desk.fleet.candidate(&self.order.message.number);
                if !Arc::ptr_eq(&now, &member) {
                    member.breaker().record(&admitted, &outcome);
                    admitted = match now.breaker().admit() {
                        Ok(admitted) => admitted,
                        Err(_) => return (Arc::clone(member.backend()), outcome),
                    };
                    member = now;
                }
                outcome = self.once(&member).await;
            }
        }
        // Two tries of a message are one sign of the provider's health.
        member.breaker().record(&admitted, &outcome);
        (Arc::clone(member.backend()), outcome)
    }

    /// Asks a backend once.
    async fn once(&mut self, member: &Member) -> Outcome {
        let Desk { clock, metrics, .. } = self.desk;
        let OutboxMessage {
            id,
            number,
            text,
            locale,
            ..
        } = &self.order.message;
        let usual_limit = member.lane().bounds().send_timeout;
        let time_limit = self.time_left().min(usual_limit);
        let sms = Sms {
            number,
            text,
            locale,
            key: id.to_string(),
        };
        let began = clock.elapsed();
        let mut outcome = member.sender().send(sms, time_limit).await;
        let took = clock.elapsed().saturating_sub(began);
        metrics.tried(member.backend(), took);
        if let Err(failure) = &mut outcome
            && failure.class.blames_provider()
            && time_limit < usual_limit / 2
        {
            // It waited in the queue for so long that the provider had hardly any of its time.
            failure.origin = Origin::Host;
        }
        self.made.push(Try::of(member.backend(), &outcome, took));
        outcome
    }

    fn time_left(&self) -> Duration {
        let waited = self.desk.clock.elapsed().saturating_sub(self.order.since);
        self.desk.total_timeout.saturating_sub(waited)
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
