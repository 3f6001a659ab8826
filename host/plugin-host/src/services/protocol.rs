//! What a library asks of the host, and what the host answers: one protocol, whichever way a library came in.
//!
//! A library in this process asks through the ABI's objects (`abi`), and so does one that is linked into the program;
//! one in C through its table of functions, which is written on top of these objects; one in a worker process through
//! the same objects there, which put the request into a frame. All of them only translate. `answer` is the one place
//! that answers.
//!
//! What needs nothing of the host is no request: time that passes, and digests and signatures, which are computed in the
//! process that the library runs in.
//!
//! Nothing has a `Debug`: a request may hold a secret, a code or a number.

use std::{future::Future, pin::Pin};

use phone_verify_plugin_abi::{Ext, RawError, abi_stable::std_types::RString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::raw::{Body, Error, Extension, HttpRequest, HttpResponse, Receipt, pairs};

/// The most random bytes in one answer. Making them takes the host longer than it takes a worker to ask for them.
pub(crate) const MAX_RANDOM_BYTES: usize = 4096;

/// Something that a library asks for, or tells. About which call is known from where it comes.
#[derive(Serialize, Deserialize)]
pub(crate) enum HostRequest {
    /// Write a line into the log.
    Log {
        level: u16,
        message: RString,
        #[serde(with = "pairs")]
        fields: Ext,
    },
    /// Give so many random bytes, at most [`MAX_RANDOM_BYTES`].
    Random { length: u32 },
    /// Make an HTTP request.
    Http(HttpRequest),
    /// Make a security code as the base does.
    SecurityCode,
    /// Put a security code into words as the base does.
    Message { security_code: RString },
    /// Judge a security code as the base does.
    Validate { security_code: RString },
    /// What became of one number of a bulk call.
    Settle {
        index: u64,
        outcome: Result<Receipt, Error>,
    },
    /// Something under an id, which the host may not know.
    Extension(Extension),
}

impl HostRequest {
    /// Whether something may have been sent once this was asked: its call must not be made again.
    pub(crate) fn may_send(&self) -> bool {
        match self {
            Self::Http(_) | Self::Settle { .. } => true,
            Self::Log { .. }
            | Self::Random { .. }
            | Self::SecurityCode
            | Self::Message { .. }
            | Self::Validate { .. }
            | Self::Extension(_) => false,
        }
    }
}

/// The answer to a [`HostRequest`].
#[derive(Serialize, Deserialize)]
pub(crate) enum HostReply {
    /// It is done, and there is nothing to say about it.
    Done,
    /// Somebody makes codes of it.
    #[serde(with = "erased")]
    Random(Zeroizing<Vec<u8>>),
    Text(RString),
    Http(HttpResponse),
    /// One of the ABI's verdicts.
    Verdict(u16),
    /// `None`: the host does not know the id.
    Extension(Option<Body>),
}

/// What the host has to say.
pub(crate) type Answered = Result<HostReply, Error>;

/// When the host answers.
pub(crate) enum Answer {
    Now(Answered),
    /// It takes its time. Nothing is begun before it is polled, and dropping it gives it up.
    Later(Pin<Box<dyn Future<Output = Answered> + Send>>),
}

impl Answer {
    pub(super) fn error(error: RawError) -> Self {
        Self::Now(Err(Error(error)))
    }
}

/// Bytes that are erased when they are dropped.
mod erased {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(
        bytes: &Zeroizing<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        bytes.as_slice().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Zeroizing<Vec<u8>>, D::Error> {
        Vec::deserialize(deserializer).map(Zeroizing::new)
    }
}
