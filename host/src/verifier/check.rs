//! Judges a code.

use std::sync::Arc;

use async_trait::async_trait;

use super::{BaseValidate, CodeAuthority, Verifier, to_its_end};
use crate::{
    model::{
        Bound, ClientAddress, FailureClass, PhoneNumber, SecurityCode, SendFailure, SessionToken, Status,
        Verdict, VerificationId,
    },
    rules::attempt::Terms,
    store::{CheckRules, Store, StoreError},
};

/// A code that came back.
#[derive(Clone, Debug)]
pub struct CheckRequest {
    /// The number that it was sent to.
    pub number: PhoneNumber,
    /// Who asks; `None`: an operator at a terminal.
    pub client: Option<ClientAddress>,
    /// What the client got when it registered.
    pub session_token: SessionToken,
    /// What the user typed.
    pub code: SecurityCode,
    /// What it is to be good for, under the key of the verification.
    pub bound: Option<Bound>,
}

/// Why there is no verdict. (A wrong code is a [`Verdict`], not an error.)
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The code was made for another purpose. No attempt was taken.
    #[error("the code was made for another purpose or binding")]
    OtherPurpose,
    /// The backend of this name, which alone may judge the code, is in use no more. No attempt was taken.
    #[error("the backend {0}, which alone may judge the code, is in use no more")]
    OwnerGone(String),
    /// The backend judges codes itself, and failed. The attempt was given back.
    #[error("the backend gave no verdict: {0}")]
    Backend(SendFailure),
}

impl Verifier {
    /// Judges a code. The verdict is durable when this returns; an attempt that was begun is settled when nobody
    /// waits any more.
    pub async fn check(&self, request: CheckRequest) -> Result<Verdict, CheckError> {
        let open = || {
            self.keyring
                .open_session_token(&request.session_token, &request.number)
        };
        let id = match open() {
            None if self.has_renewed_keys().await? => open(),
            id => id,
        };
        let Some(id) = id else {
            let verdict = Verdict::SessionTokenInvalid;
            self.metrics.checked(None, verdict);
            return Ok(verdict);
        };
        self.check_session(id, request).await
    }

    /// What looks foreign may have been made by another process with a key that this one lacks. Whether it has that key
    /// now; an error while it has not.
    pub(super) async fn has_renewed_keys(&self) -> Result<bool, StoreError> {
        let review = self.store.review_keys(self.clock.now()).await?;
        if review.lacks {
            return Err(StoreError::KeyMissing);
        }
        Ok(review.changed)
    }

    /// Judges a code of a session whose token was found genuine.
    pub(super) async fn check_session(
        &self,
        id: VerificationId,
        request: CheckRequest,
    ) -> Result<Verdict, CheckError> {
        let number = request.number.clone();
        let verdict = self.judge(id, request).await?;
        self.metrics.checked(Some(&number), verdict);
        if verdict == Verdict::Invalid {
            let found = self.found(id).await?;
            if found.is_some_and(|found| found.verification.status == Status::Failed) {
                self.metrics.used_up(&number);
            }
        }
        Ok(verdict)
    }

    async fn judge(&self, id: VerificationId, request: CheckRequest) -> Result<Verdict, CheckError> {
        let counters = self.keyring.counter_keys(&request.number, request.client);
        let is_limited = !self.policy.limits.failed_checks.is_empty();
        let general = self.check_rules();
        let rules = CheckRules {
            terms: Terms {
                bound: request.bound,
                ..general.terms
            },
            failed_checks: is_limited.then(|| counters.number()),
            guard: self
                .policy
                .guard
                .of_check(&request.number, request.client, &counters)
                .filter(|_| self.authorities.reaches(&request.number)),
        };
        let request_of_check = self.request.as_ref();
        let check = || {
            self.store
                .check_code(id, request.code.clone(), rules, request_of_check)
        };
        let checked = match check().await {
            Err(StoreError::KeyMissing) if self.has_renewed_keys().await? => check().await,
            // The key is gone for good, and the code with it.
            Err(StoreError::KeyMissing) => return Ok(Verdict::SessionTokenInvalid),
            checked => checked,
        };
        let owner = match checked {
            Err(StoreError::OwnedByBackend(owner)) => owner,
            checked => return Ok(checked?),
        };
        let Some(authority) = self.authorities.of_owner(&owner, &request.number) else {
            return Err(CheckError::OwnerGone(owner));
        };
        let verifier = self.clone();
        to_its_end(async move { verifier.ask_backend(authority, id, &request, rules).await }).await
    }

    /// Judges a code of which no number is known any more, whoever owned it: it is over.
    pub(super) async fn judge_by_host(
        &self,
        id: VerificationId,
        code: SecurityCode,
        rules: CheckRules,
    ) -> Result<Verdict, StoreError> {
        let request = self.request.as_ref();
        match self.store.check_code(id, code.clone(), rules, request).await {
            Err(StoreError::OwnedByBackend(_)) => {}
            judged => return judged,
        }
        let taken = match self.store.take_attempt(id, rules, request).await? {
            Ok(taken) => taken,
            Err(refused) => return Ok(refused),
        };
        let verdict = self.store.compare_code(id, code, rules).await?;
        let settled = self
            .store
            .settle_attempt(id, taken, Some(verdict), rules, request);
        Ok(settled.await?.unwrap_or(verdict))
    }

    async fn ask_backend(
        &self,
        authority: Arc<dyn CodeAuthority>,
        id: VerificationId,
        request: &CheckRequest,
        rules: CheckRules,
    ) -> Result<Verdict, CheckError> {
        let key = self.request.as_ref();
        let taken = match self.store.take_attempt(id, rules, key).await? {
            Ok(taken) => taken,
            Err(refused) => return Ok(refused),
        };
        let base = Arc::new(Compare {
            store: Arc::clone(&self.store),
            id,
            rules,
        });
        match authority.validate(request, base).await {
            Ok(verdict) => {
                let holds = self
                    .store
                    .settle_attempt(id, taken, Some(verdict), rules, key)
                    .await?;
                Ok(holds.unwrap_or(verdict))
            }
            Err(failure) => {
                self.store.settle_attempt(id, taken, None, rules, key).await?;
                Err(CheckError::Backend(failure))
            }
        }
    }
}

/// The base comparison for one attempt that was taken.
struct Compare {
    store: Arc<dyn Store>,
    id: VerificationId,
    rules: CheckRules,
}

#[async_trait]
impl BaseValidate for Compare {
    async fn validate(&self, code: &SecurityCode) -> Result<Verdict, SendFailure> {
        let verdict = self.store.compare_code(self.id, code.clone(), self.rules).await;
        verdict.map_err(|error| SendFailure::new(FailureClass::Internal, "store", error.to_string()))
    }
}
