//! How a library in a worker reaches the host: what it asks goes over the channel.
//!
//! Invariant: nothing is decided here that the host decides.

use std::{cell::Cell, future::Future, sync::Arc};

use phone_verify_plugin_abi::abi_stable::std_types::RString;

use super::{
    super::message::{About, NO_CALL},
    link::Link,
};
use crate::{
    CallFacts,
    services::{
        abi::{CallCarrier, Carrier, HostCarrier, Unanswered},
        protocol::{HostReply, HostRequest},
    },
};

thread_local! {
    static CURRENT: Cell<u64> = const { Cell::new(NO_CALL) };
}

/// Makes this call the current one of the thread until the guard is dropped: the ABI's log and HTTP functions do not
/// say for which call they are called.
pub(super) fn enter(id: u64) -> Entered {
    Entered(CURRENT.replace(id))
}

/// The call before goes back to being the current one.
pub(super) struct Entered(u64);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// The host behind the channel.
pub(super) struct Remote {
    link: Arc<Link>,
    instance: u64,
    /// `None`: in whichever call the thread is.
    call: Option<u64>,
}

impl Remote {
    /// For a backend.
    pub(super) fn new(link: Arc<Link>, instance: u64) -> Self {
        Self {
            link,
            instance,
            call: None,
        }
    }

    /// For one call of it.
    pub(super) fn in_call(self, id: u64) -> Self {
        Self {
            call: Some(id),
            ..self
        }
    }

    fn id(&self) -> u64 {
        self.call.unwrap_or_else(|| CURRENT.get())
    }
}

impl Carrier for Remote {
    fn tell(&self, request: HostRequest) -> Result<(), Unanswered> {
        self.link.tell(self.id(), self.instance, request)
    }

    fn ask(&self, request: HostRequest) -> Result<HostReply, Unanswered> {
        self.link.ask(self.id(), self.instance, request)
    }

    fn begin(
        &self,
        request: HostRequest,
    ) -> impl Future<Output = Result<HostReply, Unanswered>> + Send + 'static {
        // Now, because the future may be polled when another call is current.
        let (link, id, instance) = (Arc::clone(&self.link), self.id(), self.instance);
        async move { link.request(id, instance, request).await }
    }
}

impl HostCarrier for Remote {
    fn unix_ms(&self) -> u64 {
        self.link.times().unix_ms
    }

    fn monotonic_ns(&self) -> u64 {
        self.link.times().monotonic_ns
    }
}

/// The same for one call, with what the host said about it.
pub(super) struct OfCall {
    pub(super) remote: Remote,
    pub(super) about: About,
}

impl Carrier for OfCall {
    fn tell(&self, request: HostRequest) -> Result<(), Unanswered> {
        self.remote.tell(request)
    }

    fn ask(&self, request: HostRequest) -> Result<HostReply, Unanswered> {
        self.remote.ask(request)
    }

    fn begin(
        &self,
        request: HostRequest,
    ) -> impl Future<Output = Result<HostReply, Unanswered>> + Send + 'static {
        self.remote.begin(request)
    }
}

impl CallCarrier for OfCall {
    fn deadline_monotonic_ns(&self) -> u64 {
        self.about.deadline_monotonic_ns
    }

    fn request_id(&self) -> RString {
        self.about.request_id.clone()
    }

    fn idempotency_key(&self) -> RString {
        self.about.idempotency_key.clone()
    }

    fn locale(&self) -> RString {
        self.about.locale.clone()
    }

    fn facts(&self) -> &CallFacts {
        &self.about.facts
    }
}
