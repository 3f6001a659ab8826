//! Registers a number: a code is made, put into words, made durable, and sent.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{MAX_SESSIONS_PER_CODE, NoPlace, Paid, Responsible, Verifier, outbox, to_its_end};
use crate::{
    clock::UnixMillis,
    entropy::NoEntropy,
    model::{
        ClientAddress, Delivery, FailureClass, LimitReached, Locale, MessageId, Outcome, PhoneNumber,
        Purpose, SecurityCode, SendFailure, SessionToken, VerificationId, guard::Reason,
    },
    store::{
        Answer, Begun, Blocked, Destination, NewCode, NewVerification, OutboxMessage, PendingCode, Place,
        RequestKey, Seen, StoreError,
    },
};

/// How often another registration of the same number may come in between.
const MAX_TRIES: usize = 4;

/// A registration.
#[derive(Debug)]
pub struct RegisterRequest {
    /// The number to verify.
    pub number: PhoneNumber,
    /// Who asks, for the limit of an address; `None`: an operator at a terminal.
    pub client: Option<ClientAddress>,
    /// The languages that the SMS should be in.
    pub locale: Locale,
    /// What the caller says beside, for a backend that words the SMS itself.
    pub context: Map<String, Value>,
    /// The caller's own name for the verification.
    pub client_ref: Option<String>,
    /// What its code is good for.
    pub purpose: Purpose,
}

impl RegisterRequest {
    /// To verify a number, and nothing beside.
    pub fn of(number: PhoneNumber, locale: Locale) -> Self {
        Self {
            number,
            client: None,
            locale,
            context: Map::new(),
            client_ref: None,
            purpose: Purpose::default(),
        }
    }
}

/// What a further SMS within a code's life carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResendPolicy {
    /// The code that is pending.
    #[default]
    Same,
    /// Another one. For whoever registers again it is beside the one that is pending, which stays good where it was
    /// asked for; for whoever has it sent again by the verification's id it takes the place of the one before.
    New,
}

/// The SMS was taken by the provider.
#[derive(Debug)]
pub struct Registered {
    /// Names the verification.
    pub id: VerificationId,
    /// What the client must show together with the code.
    pub session_token: SessionToken,
    /// When the code stops being good.
    pub expires_at: UnixMillis,
}

/// Why no SMS was sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// A code is pending for the number, and all attempts on it are used up.
    #[error("all attempts on the pending code of this number are used up")]
    AttemptsUsedUp {
        /// Until that code has expired.
        retry_after: Duration,
    },
    /// A code is pending for the number, and too many sessions share it.
    #[error("too many sessions wait for the pending code of this number")]
    TooManySessions {
        /// Until that code has expired.
        retry_after: Duration,
    },
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
    #[error("the guard refuses this registration: {}", .reason.code())]
    Blocked {
        /// Why.
        reason: Reason,
        /// Until it may be otherwise; `None`: for as long as the settings are what they are.
        retry_after: Option<Duration>,
    },
    /// More is waiting to be sent than this server is set up for.
    #[error("the queue to the backend is full")]
    Busy,
    /// The backend refused the SMS or could not send it.
    #[error("the SMS was not sent: {0}")]
    NotSent(SendFailure),
    /// Nothing can be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No code can be made.
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
}

impl Verifier {
    /// Sends a code to a number. Returns when the provider has taken the SMS; goes on when nobody waits any more.
    ///
    /// While a code is pending for the number, that code is sent again, or another beside it, as
    /// [`Policy::resend`](super::Policy::resend) says: registering resets no attempts, cancels no code and lengthens no
    /// life.
    pub async fn register(&self, request: RegisterRequest) -> Result<Registered, RegisterError> {
        let verifier = self.clone();
        let registered = to_its_end(async move { verifier.begin_and_send(request).await }).await;
        match &registered {
            Err(RegisterError::LimitReached { code, .. }) => self.metrics.limited(code),
            Err(RegisterError::AttemptsUsedUp { .. }) => self.metrics.limited("attempts_used_up"),
            Err(RegisterError::TooManySessions { .. }) => self.metrics.limited("too_many_sessions"),
            _ => {}
        }
        registered
    }

    async fn begin_and_send(&self, request: RegisterRequest) -> Result<Registered, RegisterError> {
        // What cannot be sent is not begun.
        let mut place = self.place(Destination::new(&request.number, &request.locale))?;
        let mut after = None;
        let responsible = self.authorities.of_new(&request.number, &request.locale);
        let mut pending: Option<PendingCode> = None;
        let shares_codes = self.shares_codes(&request.number);
        for _ in 0..MAX_TRIES {
            let code = match pending.take() {
                Some(pending) if shares_codes && pending.owner == responsible.owner => {
                    NewCode::Shared(pending)
                }
                pending => {
                    let code = self
                        .new_code(&responsible, &request.number, &request.locale)
                        .await?;
                    let code = code.map_err(RegisterError::NotSent)?;
                    let lifetime = self.policy.expiration;
                    match pending {
                        Some(pending) => NewCode::Beside { pending, code },
                        None => NewCode::Fresh { code, lifetime },
                    }
                }
            };
            let (now, since) = (self.clock.now(), self.clock.elapsed());
            let new = self
                .new_verification(&request, &responsible, after.clone(), code, now)
                .await?;
            let (id, message) = (new.id, new.message.clone());
            match self.store.begin_verification(new).await? {
                Begun::Yes { expires_at } => {
                    self.metrics.begun(&request.number);
                    sent(place, message, since).await.map_err(|failure| {
                        self.metrics.not_sent(&request.number, failure.class);
                        RegisterError::NotSent(failure)
                    })?;
                    return Ok(Registered {
                        id,
                        session_token: self.keyring.session_token(id, &request.number),
                        expires_at,
                    });
                }
                Begun::CodeIsPending(code) => {
                    // Whoever asks again may not have got the first one.
                    if after != code.sent_by && responsible.owner.is_none() {
                        after.clone_from(&code.sent_by);
                        place = self.place(Destination {
                            after: after.as_deref(),
                            ..Destination::new(&request.number, &request.locale)
                        })?;
                    }
                    pending = Some(code);
                }
                Begun::CodeIsGone => {}
                Begun::Before(id) => return self.registered_before(id, &request.number).await,
                Begun::AttemptsUsedUp { until } => {
                    return Err(RegisterError::AttemptsUsedUp {
                        retry_after: now.until(until),
                    });
                }
                Begun::TooManySessions { until } => {
                    return Err(RegisterError::TooManySessions {
                        retry_after: now.until(until),
                    });
                }
                Begun::Blocked(Blocked { reason, until }) => {
                    return Err(RegisterError::Blocked {
                        reason,
                        retry_after: until.map(|until| now.until(until)),
                    });
                }
                Begun::LimitReached(LimitReached { code, until }) => {
                    return Err(RegisterError::LimitReached {
                        code,
                        retry_after: now.until(until),
                    });
                }
            }
        }
        Err(RegisterError::Busy)
    }

    pub(super) fn place(&self, to: Destination<'_>) -> Result<Place, RegisterError> {
        self.outbox.reserve(to).map_err(|none| match none {
            NoPlace::Full => RegisterError::Busy,
            NoPlace::Nowhere(failure) => RegisterError::NotSent(failure),
        })
    }

    pub(super) async fn new_code(
        &self,
        responsible: &Responsible,
        number: &PhoneNumber,
        locale: &Locale,
    ) -> Result<Result<SecurityCode, SendFailure>, NoEntropy> {
        match Arc::clone(&responsible.authority).generate(number, locale) {
            Some(asked) => Ok(asked.await),
            None => SecurityCode::generate(self.policy.code_format, &self.entropy).map(Ok),
        }
    }

    async fn new_verification(
        &self,
        request: &RegisterRequest,
        responsible: &Responsible,
        after: Option<Arc<str>>,
        code: NewCode,
        now: UnixMillis,
    ) -> Result<NewVerification, RegisterError> {
        let text = self
            .compose(
                responsible,
                &request.number,
                code.sent(),
                &request.locale,
                &request.context,
            )
            .await
            .map_err(RegisterError::NotSent)?;
        let to = Destination {
            owner: responsible.owner.as_deref(),
            after: after.as_deref(),
            ..Destination::new(&request.number, &request.locale)
        };
        let id = VerificationId::generate(&self.clock, &self.entropy)?;
        let counters = self.keyring.counter_keys(&request.number, request.client);
        let message = OutboxMessage {
            id: MessageId::of_first(id),
            verification: id,
            number: request.number.clone(),
            locale: Locale(request.locale.first_tag()),
            counters: self
                .policy
                .limits
                .counters(&request.number, self.paid(to, &text), &counters),
            guard: self
                .policy
                .guard
                .of_registration(&request.number, request.client, &counters)
                .filter(|_| self.authorities.reaches(&request.number))
                .map(Arc::new),
            replaced: None,
            counted_at: now,
            text,
            carries_code: true,
            owner: responsible.owner.clone(),
            after,
        };
        Ok(NewVerification {
            id,
            number: request.number.clone(),
            code,
            message,
            now,
            max_failed_attempts: self.policy.max_failed_attempts,
            max_sessions: MAX_SESSIONS_PER_CODE,
            remembered_for: self.policy.record_retention,
            client_ref: request.client_ref.clone(),
            purpose: request.purpose.clone(),
            request: self.request.clone(),
        })
    }

    /// What of a text is paid for: of one that nothing is sent for, nothing.
    pub(super) fn paid<'a>(&self, to: Destination<'_>, text: &'a str) -> Option<Paid<'a>> {
        self.authorities.reaches(to.number).then(|| Paid {
            text,
            price_per_segment: self.authorities.price_per_segment(to),
        })
    }

    /// Whether a further SMS to a number carries the code that is pending.
    pub(super) fn shares_codes(&self, number: &PhoneNumber) -> bool {
        self.policy.resend == ResendPolicy::Same && self.authorities.shares_codes(number)
    }

    /// The text of an SMS with this code.
    pub(super) async fn compose(
        &self,
        responsible: &Responsible,
        number: &PhoneNumber,
        code: &SecurityCode,
        locale: &Locale,
        context: &Map<String, Value>,
    ) -> Result<Zeroizing<String>, SendFailure> {
        let asked = Arc::clone(&responsible.authority).compose(number, code, locale, context);
        let composed = match asked {
            Some(asked) => asked.await?,
            None => None,
        };
        Ok(Zeroizing::new(
            composed.unwrap_or_else(|| self.policy.messages.render(locale, code)),
        ))
    }

    /// Whether a request was made before, and what was answered.
    pub async fn seen(&self, request: &RequestKey) -> Result<Seen, StoreError> {
        self.store.seen(request, self.clock.now()).await
    }

    /// Keeps what is answered to a request, for when it comes again.
    pub async fn keep_answer(&self, request: &RequestKey, answer: &Answer) -> Result<(), StoreError> {
        self.store.keep_answer(request, answer).await
    }

    /// The answer to a request that was made before, as it was or would have been then.
    async fn registered_before(
        &self,
        id: VerificationId,
        number: &PhoneNumber,
    ) -> Result<Registered, RegisterError> {
        let found = self.found(id).await?;
        let found = found.ok_or(RegisterError::UnderWay)?;
        match found.verification.first_delivery() {
            Delivery::Pending => Err(RegisterError::UnderWay),
            Delivery::Failed(class) => Err(RegisterError::NotSent(as_before(class))),
            // Whatever was reported since: the first answer was that the provider took it.
            Delivery::Sent | Delivery::Unconfirmed | Delivery::Undelivered | Delivery::Delivered => {
                Ok(Registered {
                    id,
                    session_token: self.keyring.session_token(id, number),
                    expires_at: found.verification.expires_at,
                })
            }
        }
    }
}

/// What became of a message when it was asked for before.
pub(super) fn as_before(class: FailureClass) -> SendFailure {
    SendFailure::new(
        class,
        "as_before",
        "this is what became of it when the same request was made before",
    )
}

/// Hands a message to the dispatcher, and waits for what becomes of it.
pub(super) async fn sent(place: Place, message: OutboxMessage, since: Duration) -> Outcome {
    outbox::outcome(place.send(message, since)).await
}
