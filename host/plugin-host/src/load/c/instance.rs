//! A backend in C, from its construction to its destruction.

use std::sync::{Arc, Mutex, PoisonError};

use phone_verify_plugin_abi::{HostObj, RawError, c};

use super::{call::Calls, host};

/// What the host knows of a library's backend. A library may keep the pointer to it, on a thread that nobody knows of,
/// so it is never freed: a few hundred bytes for each time that a backend is constructed. What it leads to is let go.
#[repr(C)]
pub(super) struct Context {
    /// What the library sees. First, so that a pointer to the whole is one to it.
    table: c::Host,
    pub(super) calls: Calls,
    /// Why the library refuses to construct the backend.
    pub(super) refusal: Mutex<Option<RawError>>,
    host: Mutex<Option<Arc<HostObj>>>,
}

impl Context {
    pub(super) fn new(host: HostObj) -> &'static Self {
        Box::leak(Box::new(Self {
            table: host::TABLE,
            calls: Calls::default(),
            refusal: Mutex::default(),
            host: Mutex::new(Some(Arc::new(host))),
        }))
    }

    /// The pointer that the library is given, and gives back.
    pub(super) fn as_host(&self) -> *const c::Host {
        std::ptr::from_ref(self).cast()
    }

    /// The host's services; `None` when the backend is destroyed.
    pub(super) fn host(&self) -> Option<Arc<HostObj>> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets all go that it leads to.
    pub(super) fn close(&self) {
        self.calls.clear();
        self.host.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// A constructed backend.
pub(super) struct Instance {
    pub(super) context: &'static Context,
    pub(super) entry: c::PluginEntry,
    pub(super) backend: c::Backend,
}

// SAFETY: the pointer is the library's, and the header says that all its functions may be called from any thread,
// several at once; the host itself never looks at what it points to.
unsafe impl Send for Instance {}
// SAFETY: as above.
unsafe impl Sync for Instance {}

impl Instance {
    /// Tells the library that nobody waits for a call any more.
    pub(super) fn cancel(&self, id: u64) {
        if let Some(cancel) = self.entry.cancel {
            // SAFETY: the function is the library's, and the backend is its own and not destroyed.
            unsafe { cancel(self.backend, id) };
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(destroy) = self.entry.destroy {
            // SAFETY: the function is the library's; every call that holds this instance is over, and nobody else does.
            unsafe { destroy(self.backend) };
        }
        self.context.close();
    }
}
