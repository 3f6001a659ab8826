//! The second door: a library in C, whose table is wrapped as a backend like any other. The rules on both sides stand
//! in `phone_verify_plugin.h`.
//!
//! Invariant: a library that breaks them in what can be seen from outside, such as by answering twice or late, is told
//! of in the log and harms nobody.

mod backend;
mod call;
mod host;
mod instance;
mod values;

use std::sync::{Arc, PoisonError};

use phone_verify_plugin_abi::{
    ABI_MAJOR, ABI_MINOR, BackendObj, BackendV1_TO, HostObj, RawError, abi_stable::sabi_trait::TD_Opaque, c,
    kind, overrides,
};
use serde_json::{Map, Value};

use self::{
    backend::CBackend,
    instance::{Context, Instance},
};
use crate::{
    convert::raw_error,
    model::quantity,
    refusal::{Refusal, code, list},
};

/// The table of a library, found to be whole.
#[derive(Clone, Copy)]
pub(super) struct Table {
    entry: c::PluginEntry,
    create: unsafe extern "C" fn(c::Text, *const c::Host, *const c::Pair, usize) -> c::Backend,
}

impl Table {
    /// Checks a table, which must have what `overrides`, of the manifest, says: a call of what is not there would never
    /// be answered.
    ///
    /// # Safety
    /// `entry` points to the table that a library exports, which begins with its size.
    pub(super) unsafe fn new(
        entry: *const c::PluginEntry,
        file: &str,
        overrides: u64,
    ) -> Result<Self, Refusal> {
        let wrong = |what: String| {
            Refusal::new(
                code::WRONG_ENTRY,
                format!(
                    "{file} exports {} {what}; rebuild it with phone_verify_plugin.h",
                    c::ENTRY_SYMBOL
                ),
            )
        };
        // SAFETY: as the caller says.
        let (size, table) = unsafe { (values::size(entry), values::record(entry)) };
        let Some(table) = table else {
            let (size, needed) = (
                size.unwrap_or_default(),
                <c::PluginEntry as values::Record>::RELEASED,
            );
            return Err(wrong(format!(
                "with a size of {}, and it has at least {needed}",
                quantity(size, "byte", "bytes")
            )));
        };
        if table.abi_major != ABI_MAJOR {
            return Err(Refusal::new(
                code::ABI_MAJOR,
                format!(
                    "{file} speaks version {}.{} of the backend ABI, this host speaks {ABI_MAJOR}.{ABI_MINOR}; set \
                     abi_major of {} to PV_ABI_MAJOR, and rebuild the library with the phone_verify_plugin.h of \
                     {ABI_MAJOR}.x",
                    table.abi_major,
                    table.abi_minor,
                    c::ENTRY_SYMBOL
                ),
            ));
        }
        let Some(create) = table.create else {
            return Err(wrong("without create".to_owned()));
        };
        for (is_there, name) in [
            (table.destroy.is_some(), "destroy"),
            (table.send_sms.is_some(), "send_sms"),
        ] {
            if !is_there {
                return Err(wrong(format!("without {name}")));
            }
        }
        let absent = absent_overrides(&table, overrides);
        if !absent.is_empty() {
            let (names, bits): (Vec<_>, Vec<_>) = absent.into_iter().unzip();
            return Err(wrong(format!(
                "without {}, which overrides in PV_MANIFEST says that it has ({}); fill in the table, or correct overrides",
                list(&names),
                list(&bits)
            )));
        }
        Ok(Self { entry: table, create })
    }

    /// Constructs the backend `name`.
    pub(super) fn create(
        self,
        name: &str,
        host: HostObj,
        options_json: &str,
    ) -> Result<BackendObj, RawError> {
        let context = Context::new(host);
        let options = text_pairs(options_json);
        let options = values::lend_pairs(options.iter().map(|(name, value)| (name, value)));
        let (name, table) = (values::lend(name), context.as_host());
        // SAFETY: the function is the library's; what it is lent lives until it returns, and the table for ever.
        let backend = unsafe { (self.create)(name, table, options.as_ptr(), options.len()) };
        if backend.is_null() {
            context.close();
            let refusal = context
                .refusal
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            return Err(refusal.unwrap_or_else(|| {
                raw_error(
                    kind::INTERNAL,
                    "refused",
                    "the backend could not be made, and does not say why",
                )
            }));
        }
        let backend = CBackend(Arc::new(Instance {
            context,
            entry: self.entry,
            backend,
        }));
        Ok(BackendV1_TO::from_value(backend, TD_Opaque))
    }
}

/// The functions that these overrides need and the table lacks, each with its bit.
fn absent_overrides(table: &c::PluginEntry, declared: u64) -> Vec<(String, String)> {
    let functions = [
        (
            overrides::SEND_BULK_SMS,
            table.send_bulk_sms.is_some(),
            "send_bulk_sms",
        ),
        (
            overrides::GENERATE_SECURITY_CODE,
            table.generate_security_code.is_some(),
            "generate_security_code",
        ),
        (
            overrides::GENERATE_MESSAGE,
            table.generate_message.is_some(),
            "generate_message",
        ),
        (
            overrides::VALIDATE_SECURITY_CODE,
            table.validate_security_code.is_some(),
            "validate_security_code",
        ),
        (overrides::RECEIVE, table.receive.is_some(), "receive"),
        (overrides::FEEDBACK, table.feedback.is_some(), "feedback"),
        (overrides::BALANCE, table.balance.is_some(), "balance"),
        (
            overrides::CANCEL,
            table.cancel_verification.is_some(),
            "cancel_verification",
        ),
        (overrides::EXTENSION, table.extension.is_some(), "extension"),
    ];
    let absent = functions
        .into_iter()
        .filter(|(bit, is_there, _)| declared & bit != 0 && !is_there);
    absent
        .map(|(bit, _, name)| (name.to_owned(), bit.to_string()))
        .collect()
}

/// The members of a JSON object as C is given them: texts as they are, all else as JSON, and none for null.
fn text_pairs(json: &str) -> Vec<(String, String)> {
    let object: Map<String, Value> = serde_json::from_str(json).unwrap_or_default();
    object
        .into_iter()
        .filter_map(|(name, value)| match value {
            Value::Null => None,
            Value::String(text) => Some((name, text)),
            other => Some((name, other.to_string())),
        })
        .collect()
}
