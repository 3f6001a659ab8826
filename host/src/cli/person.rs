//! `phone-verify export` and `forget`: shows or deletes what is stored about one number, for a person who asks about
//! their own data.

use clap::Args;
use serde_json::{Value, json};

use super::{Common, decisions, output::Failure, register::parse_number, whoami};
use crate::{
    clock::Clock,
    daemon,
    model::{FailureClass, Message, PhoneNumber, guard::Decision, quantity},
    settings::Settings,
    store::{Found, Records, StoreError},
    verifier::Administration,
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
        run: impl AsyncFnOnce(&Administration, &PhoneNumber, &Settings) -> Result<T, StoreError>,
    ) -> Result<(PhoneNumber, T), Failure> {
        let settings = self.common.load()?;
        let number = parse_number(&self.number, &settings)?;
        let store = daemon::administration(&settings, &Clock::system(), whoami())
            .map_err(|problem| Failure::of([problem]))?;
        let done = super::runtime()?
            .block_on(run(&store, &number, &settings))
            .map_err(|error| Failure::failed(error.to_string()))?;
        Ok((number, done))
    }
}

impl Export {
    pub(super) fn json(&self) -> bool {
        self.about.common.json
    }

    pub(super) fn run(&self) -> Result<(), Failure> {
        let (_, result) = self.about.with_store(async |store, number, settings| {
            let rules = &settings.phone_verification;
            let records = store.export(number, rules.only_once, rules.max_failed_attempts);
            Ok(exported(number, &records.await?, store.clock()))
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
        "messages": records.texts.iter().map(|found| {
            let mut shown = message(&found.message, clock);
            shown["created_at_unix_ms"] = clock.shown(found.created_at).0.into();
            shown
        }).collect::<Vec<_>>(),
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
        "messages": verification.messages.iter().map(|sms| message(sms, clock)).collect::<Vec<_>>(),
        "client_ref": found.client_ref,
        "purpose": verification.purpose,
    })
}

/// One SMS, with every try to send it and what the provider reported.
fn message(message: &Message, clock: &Clock) -> Value {
    let reported = message.reported.as_ref().map(|reported| {
        json!({
            "received_at_unix_ms": clock.shown(reported.received_at).0,
            "class": reported.class.map(FailureClass::as_str),
            "code": reported.code,
            "at_unix_ms": reported.at.map(|at| at.0),
            "cost": reported.cost.map(|cost| json!({
                "amount": cost.to_string(),
                "currency": cost.currency.as_str(),
            })),
            "segments": reported.segments,
        })
    });
    json!({
        "id": message.id.to_string(),
        "delivery": message.delivery.state(),
        "class": message.class().map(FailureClass::as_str),
        "backend": message.backend,
        "provider_message_id": message.provider_id,
        "tries": message.tries,
        "reported": reported,
    })
}

impl Forget {
    pub(super) fn json(&self) -> bool {
        self.about.common.json
    }

    pub(super) fn run(&self) -> Result<(), Failure> {
        let (number, records) = self.about.with_store(async |store, number, _| {
            if self.dry_run {
                store.count_records_of(number).await
            } else {
                store.forget(number).await
            }
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
