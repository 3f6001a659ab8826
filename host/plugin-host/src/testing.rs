//! What the unit tests of this module share.

use std::{sync::Arc, time::Duration};

use super::{
    BaseCalls, Call, CallFacts,
    services::{
        Services,
        http::{Bounds, Clients, Egress, Http, Outbound},
    },
};
use crate::{
    clock::Clock,
    entropy::Entropy,
    model::{SecurityCode, SendFailure, Verdict},
};

/// Of a backend that may reach nothing.
pub(super) fn services() -> Arc<Services> {
    let clock = Clock::system();
    let http = Http {
        clients: Arc::new(Clients::through(Outbound::default())),
        egress: Egress::new(&[], &[], false),
        bounds: Bounds::new(1),
        clock: clock.clone(),
    };
    let services = Services::new("x.XBackend", Arc::default(), clock, Entropy::system(), http);
    Arc::new(services)
}

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
        facts: CallFacts::default(),
        base: Arc::new(FixedBase),
    }
}
