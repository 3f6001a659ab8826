//! What happened, as other programs read it: a payload in the form of Standard Webhooks, with `type`, `timestamp` and
//! `data`.
//!
//! Invariant: numbers are masked.

use serde_json::{Map, Value, json};

use crate::{
    clock::Clock,
    model::{Event, FailureClass, PhoneNumber},
};

/// An event as JSON, with its id.
pub fn shown(event: &Event, clock: &Clock) -> Value {
    json!({
        "id": event.id(),
        "type": event.kind.as_str(),
        "timestamp": clock.shown(event.at).rfc3339(),
        "data": data(event),
    })
}

/// What it is about. What is not known is not in it.
fn data(event: &Event) -> Map<String, Value> {
    let details = &event.details;
    let members = [
        ("verification_id", event.verification.map(|id| id.to_string())),
        ("message_id", event.message.map(|id| id.to_string())),
        ("phone_number", event.number.as_ref().map(PhoneNumber::masked)),
        ("backend", details.backend.clone()),
        (
            "class",
            details.class.map(|class| FailureClass::as_str(class).to_owned()),
        ),
        ("code", details.code.clone()),
    ];
    let known = members
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    known
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect()
}

/// An event as a line for a person.
pub fn line(event: &Event, clock: &Clock) -> String {
    let about = data(event)
        .iter()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect::<Vec<_>>();
    format!(
        "{}  {:<22}  {}",
        clock.shown(event.at).rfc3339(),
        event.kind.as_str(),
        about.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::UnixMillis,
        model::{EventDetails, EventKind, MessageId, VerificationId},
    };

    #[test]
    fn an_event_is_shown_with_what_is_known_and_a_masked_number() {
        let at = UnixMillis(1_700_000_000_000);
        let event = Event {
            place: 1,
            kind: EventKind::MessageUndelivered,
            at,
            verification: Some(VerificationId([1; 16])),
            message: Some(MessageId([2; 16])),
            number: PhoneNumber::parse("+13478379634", None).ok(),
            details: EventDetails {
                backend: Some("nexmo.NexmoBackend".into()),
                class: Some(FailureClass::UnreachableNumber),
                code: None,
            },
        };
        let clock = Clock::manual(at);
        assert_eq!(
            shown(&event, &clock),
            json!({
                "id": "evt_02020202020202020202020202020202_message_undelivered",
                "type": "message.undelivered",
                "timestamp": "2023-11-14T22:13:20Z",
                "data": {
                    "verification_id": "01010101010101010101010101010101",
                    "message_id": "02020202020202020202020202020202",
                    "phone_number": "+13****34",
                    "backend": "nexmo.NexmoBackend",
                    "class": "unreachable_number",
                },
            })
        );
        assert!(line(&event, &clock).contains("message.undelivered"));
        let unknown = Event {
            number: None,
            details: EventDetails::default(),
            ..event
        };
        assert_eq!(shown(&unknown, &clock)["data"].as_object().unwrap().len(), 2);
    }
}
