//! What is done with a verification by its id: look at it, judge its code, send it again, end it.

use std::{sync::Arc, time::Duration};

use serde_json::Map;

use super::{
    CheckError, CheckRequest, NoPlace, Responsible, Verifier,
    register::{as_before, sent},
    to_its_end,
};
use crate::{
    entropy::NoEntropy,
    model::{
        ClientAddress, Delivery, LimitReached, Locale, MessageId, PhoneNumber, Purpose, SecurityCode,
        SendFailure, SessionToken, Status, Verdict, Verification, VerificationId, guard::Reason,
    },
    store::{Blocked, Counted, Destination, Found, Lookup, MessageBegun, OutboxMessage, Seen, StoreError},
};

/// Why a verification was not sent again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResendError {
    /// There is none of that id.
    #[error("there is no such verification")]
    NotFound,
    /// Its code is no longer awaited.
    #[error("the verification is over")]
    Over(Status),
    /// The same request is being dealt with.
    #[error("the same request is under way")]
    UnderWay,
    /// A limit of the settings has no room.
    #[error("the limit {code} is reached; there is room again in {}", crate::model::quantity(.retry_after.as_millis().div_ceil(1000), "second", "seconds"))]
    LimitReached {
        /// Names the limit: the key of the setting.
        code: &'static str,
        /// Until there is room again.
        retry_after: Duration,
    },
    /// The pumping guard refuses it.
    #[error("the guard refuses this message: {}", .reason.code())]
    Blocked {
        /// Why.
        reason: Reason,
        /// Until it may be otherwise; `None`: for as long as the settings are what they are.
        retry_after: Option<Duration>,
    },
    /// The backend of this name, which alone may send its code, is in use no more.
    #[error("the backend {0}, which alone may send its code, is in use no more")]
    OwnerGone(Arc<str>),
    /// More is waiting to be sent than this server is set up for.
    #[error("the queue to the backend is full")]
    Busy,
    /// The backend refused the SMS or could not send it.
    #[error("the SMS was not sent: {0}")]
    NotSent(SendFailure),
    /// Nothing can be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No id can be made.
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
}

/// What a check by id came to.
#[derive(Debug)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// How the verification stands now.
    pub status: Status,
    /// How many wrong codes the verification survives now.
    pub attempts_remaining: u32,
}

impl Verifier {
    /// How a verification stands, with the caller's own name for it.
    pub async fn find(
        &self,
        id: VerificationId,
    ) -> Result<Option<(Verification, Option<String>)>, StoreError> {
        let found = self.found(id).await?;
        Ok(found.map(|found| (found.verification, found.client_ref)))
    }

    /// The latest verifications of a number or of a caller's own name, each with that name. `before`: only those that
    /// began before this one.
    pub async fn latest(
        &self,
        lookup: Lookup,
        before: Option<VerificationId>,
        limit: u32,
    ) -> Result<Vec<(Verification, Option<String>)>, StoreError> {
        let of_number = Arc::clone(&self.policy.limits.number);
        let found = self
            .store
            .latest_verifications(lookup, before, limit, self.check_rules(), of_number);
        let found = found.await?.into_iter();
        Ok(found
            .map(|found| (found.verification, found.client_ref))
            .collect())
    }

    /// Judges a code by the verification's id, for a purpose. `None`: there is none.
    pub async fn check_by_id(
        &self,
        id: VerificationId,
        client: Option<ClientAddress>,
        session_token: SessionToken,
        code: SecurityCode,
        purpose: Purpose,
    ) -> Result<Option<Judged>, CheckError> {
        let Some(mut found) = self.found(id).await? else {
            return Ok(None);
        };
        if !self.keyring.holds(found.key_id)
            && self.has_renewed_keys().await?
            && let Some(again) = self.found(id).await?
        {
            found = again;
        }
        if !self
            .keyring
            .is_session_token(&session_token, id, found.key_id, &found.number_digest)
        {
            return Ok(Some(Judged {
                verdict: Verdict::SessionTokenInvalid,
                status: found.verification.status,
                attempts_remaining: found.verification.attempts_remaining,
            }));
        }
        // Said before anything is judged, to whoever has shown the session's token.
        if self.keyring.bound_under(found.key_id, &purpose) != found.bound {
            return Err(CheckError::OtherPurpose);
        }
        let verdict = if let Some((_, number)) = found.code {
            let request = CheckRequest {
                number,
                client,
                session_token,
                code,
                bound: found.bound,
            };
            self.check_session(id, request).await?
        } else {
            // Nothing is left that a backend could be asked about.
            let mut rules = self.check_rules();
            rules.terms.bound = found.bound;
            let verdict = self.judge_by_host(id, code, rules).await?;
            self.metrics.checked(None, verdict);
            verdict
        };
        let now = self.found(id).await?.map(|found| found.verification);
        Ok(Some(Judged {
            verdict,
            status: now.as_ref().map_or(Status::Expired, |now| now.status),
            attempts_remaining: now.map_or(0, |now| now.attempts_remaining),
        }))
    }

    /// Sends the code of a verification again, or another in its place, also when nobody waits any more. Neither its
    /// life nor its attempts change. `client`: who asks, for the limit of an address.
    pub async fn resend(
        &self,
        id: VerificationId,
        client: Option<ClientAddress>,
        locale: &Locale,
    ) -> Result<Verification, ResendError> {
        let (verifier, locale) = (self.clone(), locale.clone());
        let resent = to_its_end(async move { verifier.send_again(id, client, &locale).await }).await;
        if let Err(ResendError::LimitReached { code, .. }) = &resent {
            self.metrics.limited(code);
        }
        resent
    }

    async fn send_again(
        &self,
        id: VerificationId,
        client: Option<ClientAddress>,
        locale: &Locale,
    ) -> Result<Verification, ResendError> {
        let found = self.found(id).await?.ok_or(ResendError::NotFound)?;
        // Also when the verification is over by now.
        if let Some(request) = &self.request
            && self.store.seen(request, self.clock.now()).await? != Seen::Never
        {
            return as_sent_before(found.verification);
        }
        let status = found.verification.status;
        let Some((pending, number)) = found.code.filter(|_| status == Status::Pending) else {
            return Err(ResendError::Over(status));
        };
        let responsible = self.responsible_for(found.owner.as_ref(), &number, locale);
        let responsible = responsible.map_err(ResendError::OwnerGone)?;
        // What cannot be sent is not begun.
        let messages = &found.verification.messages;
        let after: Option<Arc<str>> = messages.last().and_then(|last| last.sent_by()).map(Into::into);
        let to = Destination {
            number: &number,
            locale,
            owner: found.owner.as_deref(),
            after: after.as_deref(),
        };
        let place = self.outbox.reserve(to);
        let place = place.map_err(|none| match none {
            NoPlace::Full => ResendError::Busy,
            NoPlace::Nowhere(failure) => ResendError::NotSent(failure),
        })?;
        // One that was beside the pending code is nowhere to be read.
        let is_new = found.is_beside || !self.shares_codes(&number);
        let code = if is_new {
            Some(
                self.new_code(&responsible, &number, locale)
                    .await?
                    .map_err(ResendError::NotSent)?,
            )
        } else {
            None
        };
        let text = self
            .compose(
                &responsible,
                &number,
                code.as_ref().unwrap_or(&pending),
                locale,
                &Map::new(),
            )
            .await
            .map_err(ResendError::NotSent)?;
        let now = self.clock.now();
        let limits = &self.policy.limits;
        let keys = self.keyring.counter_keys(&number, client);
        let counters = limits.counters(&number, self.paid(to, &text), &keys);
        // No further guess comes of it, so it is not wrong codes that could keep the holder from the SMS.
        let counters = counters
            .iter()
            .filter(|counter| counter.counted != Counted::FailedChecks);
        let mut message = OutboxMessage {
            replaced: None,
            counters: counters.cloned().collect(),
            guard: self
                .policy
                .guard
                .of_registration(&number, client, &keys)
                .filter(|_| self.authorities.reaches(&number))
                .map(Arc::new),
            counted_at: now,
            id: MessageId::generate(&self.clock, &self.entropy)?,
            verification: id,
            number,
            locale: Locale(locale.first_tag()),
            text,
            carries_code: true,
            owner: found.owner.clone(),
            after: after.clone(),
        };
        let since = self.clock.elapsed();
        let begun = self
            .store
            .begin_message(message.clone(), code, now, self.request.as_ref());
        match begun.await? {
            MessageBegun::Before => return self.resent_before(id).await,
            MessageBegun::Yes(replaced) => message.replaced = replaced,
            MessageBegun::CodeIsGone => return Err(ResendError::Over(Status::Expired)),
            MessageBegun::LimitReached(LimitReached { code, until }) => {
                let retry_after = now.until(until);
                return Err(ResendError::LimitReached { code, retry_after });
            }
            MessageBegun::Blocked(Blocked { reason, until }) => {
                let retry_after = until.map(|until| now.until(until));
                return Err(ResendError::Blocked { reason, retry_after });
            }
        }
        sent(place, message, since).await.map_err(ResendError::NotSent)?;
        let found = self.found(id).await?.ok_or(ResendError::NotFound)?;
        Ok(found.verification)
    }

    /// Who is responsible for a code that was made before; the error names its owner, who is gone.
    fn responsible_for(
        &self,
        owner: Option<&Arc<str>>,
        number: &PhoneNumber,
        locale: &Locale,
    ) -> Result<Responsible, Arc<str>> {
        let Some(owner) = owner else {
            // The host judges it: a backend that judges those of its own cannot word it either.
            let now = self.authorities.of_new(number, locale);
            return Ok(if now.owner.is_some() {
                Responsible::host()
            } else {
                now
            });
        };
        let authority = self.authorities.of_owner(owner, number);
        Ok(Responsible {
            authority: authority.ok_or_else(|| Arc::clone(owner))?,
            owner: Some(Arc::clone(owner)),
        })
    }

    /// What became of a message when it was asked for before.
    async fn resent_before(&self, id: VerificationId) -> Result<Verification, ResendError> {
        let found = self.found(id).await?.ok_or(ResendError::NotFound)?;
        as_sent_before(found.verification)
    }

    /// Ends a verification that is not over: its code is good no more in this session. `actor` is for the audit
    /// log, where it is written if there was one to end.
    pub async fn cancel(&self, id: VerificationId, actor: String) -> Result<(), StoreError> {
        let entry = self.administration(actor).entry("cancel", id.to_string());
        let ended = self.store.cancel_verification(id, entry, self.request.as_ref());
        ended.await.map(drop)
    }

    pub(super) async fn found(&self, id: VerificationId) -> Result<Option<Found>, StoreError> {
        let of_number = Arc::clone(&self.policy.limits.number);
        self.store
            .find_verification(id, self.check_rules(), of_number)
            .await
    }
}

fn as_sent_before(verification: Verification) -> Result<Verification, ResendError> {
    match verification.delivery() {
        Delivery::Pending => Err(ResendError::UnderWay),
        Delivery::Failed(class) => Err(ResendError::NotSent(as_before(class))),
        Delivery::Sent | Delivery::Unconfirmed | Delivery::Undelivered | Delivery::Delivered => {
            Ok(verification)
        }
    }
}
