//! How the ABI's structs are written into a frame of a worker process. The ABI itself knows nothing of frames, so its
//! types are described here a second time; the compiler holds the two descriptions equal.
//!
//! Invariant: nothing here has a `Debug`, for all of it may hold a secret, a code or a number.

use phone_verify_plugin_abi::{
    Ext, RawBalance, RawBulk, RawCancel, RawCheck, RawError, RawExtension, RawFeedback, RawHttpRequest,
    RawHttpResponse, RawMessageRequest, RawReceipt, RawReceived, RawReport, RawSms,
    abi_stable::std_types::{RString, RVec},
};
use serde::{Deserialize, Serialize};

macro_rules! framed {
    ($name:ident is $raw:ident, named $raw_name:literal, described by $described:literal:
        $fields:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* }) => {
        #[derive(Serialize, Deserialize)]
        #[serde(remote = $raw_name)]
        struct $fields { $($(#[$attribute])* $field: $type,)* }

        #[derive(Clone, Serialize, Deserialize)]
        pub(crate) struct $name(
            #[serde(with = $described)] pub(crate) $raw,
        );
    };
}

framed!(Error is RawError, named "RawError", described by "ErrorFields": ErrorFields {
    kind: u16,
    http_status: u16,
    retry_after_ms: u64,
    code: RString,
    message: RString,
    flags: u64,
    #[serde(with = "pairs")]
    ext: Ext,
});

framed!(Sms is RawSms, named "RawSms", described by "SmsFields": SmsFields {
    number: RString,
    message: RString,
    flags: u64,
    #[serde(with = "pairs")]
    ext: Ext,
});

framed!(Bulk is RawBulk, named "RawBulk", described by "BulkFields": BulkFields {
    numbers: RVec<RString>,
    message: RString,
    flags: u64,
    #[serde(with = "pairs")]
    ext: Ext,
});

framed!(Receipt is RawReceipt, named "RawReceipt", described by "ReceiptFields": ReceiptFields {
    message_id: RString,
    flags: u64,
    #[serde(with = "pairs")]
    ext: Ext,
});

framed!(MessageRequest is RawMessageRequest, named "RawMessageRequest", described by "MessageRequestFields":
MessageRequestFields {
    security_code: RString,
    context_json: RString,
    flags: u64,
    #[serde(with = "pairs")]
    ext: Ext,
});

framed!(Check is RawCheck, named "RawCheck", described by "CheckFields": CheckFields {
    security_code: RString,
    phone_number: RString,
    session_token: RString,
    flags: u64,
    #[serde(with = "pairs")]
    ext: Ext,
});

framed!(HttpRequest is RawHttpRequest, named "RawHttpRequest", described by "HttpRequestFields": HttpRequestFields {
    method: RString,
    url: RString,
    #[serde(with = "pairs")]
    headers: Ext,
    #[serde(with = "bytes")]
    body: RVec<u8>,
    timeout_ms: u64,
    flags: u64,
    #[serde(with = "pairs")]
    ext: Ext,
});

framed!(HttpResponse is RawHttpResponse, named "RawHttpResponse", described by "HttpResponseFields":
HttpResponseFields {
    status: u16,
    #[serde(with = "pairs")]
    headers: Ext,
    #[serde(with = "bytes")]
    body: RVec<u8>,
    flags: u64,
    #[serde(with = "pairs")]
    ext: Ext,
});

framed!(Received is RawReceived, named "RawReceived", described by "ReceivedFields": ReceivedFields {
    #[serde(with = "HttpResponseFields")]
    answer: RawHttpResponse,
    #[serde(with = "reports")]
    reports: RVec<RawReport>,
    flags: u64,
    #[serde(with = "pairs")]
    ext: Ext,
});

framed!(Report is RawReport, named "RawReport", described by "ReportFields": ReportFields {
    message_id: RString,
    state: u16,
    kind: u16,
    code: RString,
    at_unix_ms: u64,
    segments: u32,
    cost: RString,
    currency: RString,
    flags: u64,
    #[serde(with = "pairs")]
    ext: Ext,
});

framed!(Feedback is RawFeedback, named "RawFeedback", described by "FeedbackFields": FeedbackFields {
    message_id: RString,
    converted: bool,
    flags: u64,
    #[serde(with = "pairs")]
    ext: Ext,
});

framed!(Cancel is RawCancel, named "RawCancel", described by "CancelFields": CancelFields {
    message_id: RString,
    flags: u64,
    #[serde(with = "pairs")]
    ext: Ext,
});

framed!(Balance is RawBalance, named "RawBalance", described by "BalanceFields": BalanceFields {
    amount: RString,
    currency: RString,
    flags: u64,
    #[serde(with = "pairs")]
    ext: Ext,
});

framed!(Extension is RawExtension, named "RawExtension", described by "ExtensionFields": ExtensionFields {
    id: RString,
    #[serde(with = "bytes")]
    body: RVec<u8>,
    flags: u64,
    #[serde(with = "pairs")]
    ext: Ext,
});

/// What an extension answers.
#[derive(Serialize, Deserialize)]
pub(crate) struct Body(#[serde(with = "bytes")] pub(crate) RVec<u8>);

/// Reports, in as long a list as the host takes and one more, so that it is seen that there were too many.
mod reports {
    use phone_verify_plugin_abi::{RawReport, abi_stable::std_types::RVec};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Report;
    use crate::model::ReceiptAnswer;

    const MAX_CARRIED: usize = ReceiptAnswer::MAX_REPORTS + 1;

    pub(super) fn serialize<S: Serializer>(
        reports: &RVec<RawReport>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(reports.iter().take(MAX_CARRIED).cloned().map(Report))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<RVec<RawReport>, D::Error> {
        let reports = Vec::<Report>::deserialize(deserializer)?;
        if reports.len() > MAX_CARRIED {
            return Err(D::Error::invalid_length(reports.len(), &"fewer reports"));
        }
        Ok(reports.into_iter().map(|report| report.0).collect())
    }
}

/// The ABI's pairs of texts. Of more than [`MAX_PAIRS`] the rest is not sent, and one who sends more is no worker of
/// ours: empty ones would take thirty times the memory that they take in a frame.
pub(crate) mod pairs {
    use std::fmt;

    use phone_verify_plugin_abi::{Ext, abi_stable::std_types::Tuple2};
    use serde::{
        Deserializer, Serializer,
        de::{Error, SeqAccess, Visitor},
    };

    const MAX_PAIRS: usize = 1024;

    pub(crate) fn serialize<S: Serializer>(pairs: &Ext, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            pairs
                .iter()
                .take(MAX_PAIRS)
                .map(|Tuple2(name, value)| (name.as_str(), value.as_str())),
        )
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Ext, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Ext;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_PAIRS} pairs of texts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Ext, A::Error> {
                let mut pairs = Ext::new();
                while let Some((name, value)) = sequence.next_element()? {
                    if pairs.len() == MAX_PAIRS {
                        return Err(A::Error::invalid_length(pairs.len() + 1, &self));
                    }
                    pairs.push(Tuple2(name, value));
                }
                Ok(pairs)
            }
        }

        deserializer.deserialize_seq(Pairs)
    }
}

/// A body in one piece instead of byte by byte.
mod bytes {
    use std::fmt;

    use phone_verify_plugin_abi::abi_stable::std_types::RVec;
    use serde::{
        Deserializer, Serializer,
        de::{Error, Visitor},
    };

    pub(super) fn serialize<S: Serializer>(bytes: &RVec<u8>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RVec<u8>, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = RVec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(RVec::from(bytes.to_vec()))
            }
        }

        deserializer.deserialize_bytes(Bytes)
    }
}
