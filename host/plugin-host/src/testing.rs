//! What the unit tests of this module share.

use std::{sync::Arc, time::Duration};

use super::{BaseCalls, Call};
use crate::model::{SecurityCode, SendFailure, Verdict};

/// A base that knows one code.
pub(super) struct FixedBase;

#[async_trait::async_trait]
impl BaseCalls for FixedBase {
    fn security_code(&self) -> Result<SecurityCode, SendFailure> {
        Ok(SecurityCode::new("424242").expect("six digits are a code"))
    }

    fn message(&self, code: &SecurityCode) -> String {
        format!("Your code is {}.", code.expose())
    }

    async fn validate(&self, _code: &SecurityCode) -> Option<Result<Verdict, SendFailure>> {
        None
    }
}

/// A call without anything special.
pub(super) fn call(time_limit: Duration) -> Call {
    Call {
        time_limit,
        request_id: "r-1".to_owned(),
        idempotency_key: String::new(),
        locale: String::new(),
        base: Arc::new(FixedBase),
    }
}
