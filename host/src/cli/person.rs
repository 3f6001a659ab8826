//! `phone-verify export` and `forget`: shows or deletes what is stored about one number, for a person who asks about
//! their own data.

use clap::Args;
use serde_json::{Value, json};

use super::{Common, decisions, output::Failure, register::parse_number, whoami};
use crate::{
    clock::Clock,
    daemon,
    entropy::Entropy,
    model::{FailureClass, Message, PhoneNumber, guard::Decision, quantity},
    rules::attempt::Terms,
    store::{AuditEntry, CheckRules, Found, Keyring, Records, Store, StoreError},
};

#[derive(Args)]
pub(super) struct Export {
    #[command(flatten)]
    about: About,
}

#[derive(Args)]
pub(super) struct Forget {
    #[command(flatten)]
    about: About,
    /// Only say how many records there are
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
struct About {
    /// The number
    number: String,
    #[command(flatten)]
    common: Common,
}

impl About {
    /// Runs with the store alone. No backend is needed, so a person's data can be had even if the backend's library is
    /// missing.
    fn with_store<T>(
        &self,
        run: impl AsyncFnOnce(&dyn Store, &PhoneNumber, CheckRules, &Clock) -> Result<T, StoreError>,
    ) -> Result<(PhoneNumber, T), Failure> {
        let settings = self.common.load()?;
        let number = parse_number(&self.number, &settings)?;
        let clock = Clock::system();
        let (store, _): (_, std::sync::Arc<Keyring>) =
            daemon::open_existing_store(&settings, &clock, &Entropy::system())
                .map_err(|problem| Failure::of([problem]))?;
        let rules = CheckRules {
            terms: Terms {
                now: clock.now(),
                only_once: settings.phone_verification.only_once,
                max_failed_attempts: settings.phone_verification.max_failed_attempts,
                bound: None,
            },
            failed_checks: None,
            guard: None,
        };
        let done = super::runtime()?
            .block_on(run(&*store, &number, rules, &clock))
            .map_err(|error| Failure::failed(error.to_string()))?;
        Ok((number, done))
    }
}

/// The entry for the audit log. It names the number masked: after `forget`, it must not be readable there either.
fn entry(action: &str, number: &PhoneNumber, rules: CheckRules) -> AuditEntry {
    AuditEntry {
        at: rules.terms.now,
        actor: whoami(),
        action: action.to_owned(),
        subject: number.masked(),
    }
}

impl Export {
    pub(super) fn json(&self) -> bool {
        self.about.common.json
    }

    pub(super) fn run(&self) -> Result<(), Failure> {
        let (_, result) = self.about.with_store(async |store, number, rules, clock| {
            // Recorded although it changes nothing, and even if nothing is found: it discloses personal data.
            store.record_audit_entry(entry("export", number, rules)).await?;
            let records = store.records_of(number, rules).await?;
            Ok(exported(number, &records, clock))
        })?;
        let text = serde_json::to_string_pretty(&result).unwrap_or_default();
        self.about.common.output().result(&result, || text)?;
        Ok(())
    }
}

/// Everything that is stored about a number, as JSON. Times are shown by the wall clock.
fn exported(number: &PhoneNumber, records: &Records, clock: &Clock) -> Value {
    let verifications = records.verifications.iter();
    let verifications: Vec<Value> = verifications.map(|found| verification(found, clock)).collect();
    let messages: Vec<Value> = records
        .messages
        .iter()
        .map(|message| {
            json!({
                "job": data_encoding::HEXLOWER.encode(&message.job.0),
                "created_at_unix_ms": clock.shown(message.created_at).0,
                "state": message.state,
            })
        })
        .collect();
    let decisions = records.decisions.iter().map(|decision| {
        decisions::shown(&Decision {
            at: clock.shown(decision.at),
            ..decision.clone()
        })
    });
    json!({
        "phone_number": number.e164(),
        "verifications": verifications,
        "bulk_messages": messages,
        "decisions": decisions.collect::<Vec<_>>(),
    })
}

/// A verification with the messages that were sent for it.
fn verification(found: &Found, clock: &Clock) -> Value {
    let verification = &found.verification;
    let last = verification.messages.last();
    json!({
        "id": verification.id.to_string(),
        "status": verification.status.as_str(),
        "created_at_unix_ms": clock.shown(verification.created_at).0,
        "expires_at_unix_ms": clock.shown(verification.expires_at).0,
        "verified_at_unix_ms": verification.verified_at.map(|at| clock.shown(at).0),
        "delivery": verification.delivery().state(),
        "backend": last.and_then(|message| message.backend.as_ref()),
        "provider_message_id": last.and_then(|message| message.provider_id.as_ref()),
        "messages": verification.messages.iter().map(message).collect::<Vec<_>>(),
        "client_ref": found.client_ref,
        "purpose": verification.purpose,
    })
}

/// One SMS, with every try to send it.
fn message(message: &Message) -> Value {
    json!({
        "id": message.id.to_string(),
        "delivery": message.delivery.state(),
        "class": message.delivery.class().map(FailureClass::as_str),
        "backend": message.backend,
        "provider_message_id": message.provider_id,
        "tries": message.tries,
    })
}

impl Forget {
    pub(super) fn json(&self) -> bool {
        self.about.common.json
    }

    pub(super) fn run(&self) -> Result<(), Failure> {
        let (number, records) = self.about.with_store(async |store, number, rules, _| {
            // Without an entry, the store only counts.
            let entry = (!self.dry_run).then(|| entry("forget", number, rules));
            store.forget(number, entry).await
        })?;
        let result = json!({ "records": records, "dry_run": self.dry_run });
        self.about.common.output().result(&result, || {
            let did = if self.dry_run { "would forget" } else { "forgot" };
            let records = quantity(records, "record", "records");
            format!("{did} {records} of {}", number.masked())
        })?;
        Ok(())
    }
}
