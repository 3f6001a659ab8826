//! The `OpenAPI` schemas of fields that several requests and answers share, with the bounds that the code enforces.
//!
//! They are functions, used by `#[schema(schema_with = …)]` on the structs of bodies. A schema made from the same
//! constants as the code cannot promise other bounds than those that are checked.

use serde_json::json;
use utoipa::openapi::{
    ObjectBuilder, RefOr, Schema,
    extensions::Extensions,
    schema::{AdditionalProperties, KnownFormat, SchemaFormat, SchemaType, Type},
};

use super::routes::v1::{messages, verifications::MAX_CLIENT_REF};
use crate::model::{Delivery, FailureClass, Purpose, Status, context, guard};

/// The pattern of a text that is not blank: something other than white space, and no null character.
const NOT_BLANK: &str = r"^[^\u0000]*[^\u0000\s][^\u0000]*$";

/// The most characters of a locale.
pub(super) const MAX_LOCALE: usize = 255;

/// A text that is one of these names.
pub(super) fn one_of<'a>(names: impl IntoIterator<Item = &'a str>, description: &str) -> RefOr<Schema> {
    let names: Vec<&str> = names.into_iter().collect();
    text(description).enum_values(Some(names)).into()
}

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
}

/// A text that must not be blank.
fn required_text(description: &str, example: &str) -> ObjectBuilder {
    text(description)
        .min_length(Some(1))
        .pattern(Some(NOT_BLANK))
        .examples([example])
}

/// A text that may be missing or null.
fn optional_text(description: &str, example: &str, max_characters: usize) -> ObjectBuilder {
    required_text(description, example)
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .max_length(Some(max_characters))
}

pub(super) fn phone_number() -> RefOr<Schema> {
    required_text(
        "In E.164; spaces, dashes and brackets do not matter. National where the settings name a region.",
        "+13478379634",
    )
    .into()
}

pub(super) fn session_token() -> RefOr<Schema> {
    required_text(
        "As the registration answered it.",
        "AYvP5WgAHy49TFtqeYgAAHNvbWUgTUFD",
    )
    .into()
}

pub(super) fn security_code() -> RefOr<Schema> {
    required_text("What the user typed.", "123456").into()
}

pub(super) fn locale() -> RefOr<Schema> {
    let description = "The language of the SMS, as in `Accept-Language`, which it goes before.";
    optional_text(description, "es", MAX_LOCALE).into()
}

pub(super) fn client_ref() -> RefOr<Schema> {
    let description = "The caller's own name for the verification.";
    optional_text(description, "order 7", MAX_CLIENT_REF).into()
}

pub(super) fn purpose() -> RefOr<Schema> {
    let description = "What the verification is for, such as `login`. A code is neither shared with nor good for another \
                       purpose; the check must say the same one.";
    optional_text(description, "payout", Purpose::MAX_NAME).into()
}

pub(super) fn binding() -> RefOr<Schema> {
    let description = "What in particular, such as an account and a sum, as any text. It is stored as a digest; the check \
                       must say the same.";
    optional_text(description, "account 4711, EUR 250.00", Purpose::MAX_BINDING).into()
}

/// An object of single values: no lists and no objects inside.
pub(super) fn context() -> RefOr<Schema> {
    let description = "For a backend that words the SMS itself. Control and invisible characters are taken out of texts, \
                       and words that look like an address on the web unless the settings allow them.";
    // Not as a list in `type`: for such a type, openapi-generator makes a class without content in Kotlin and Swift.
    let neither = json!({ "anyOf": [{ "type": "array" }, { "type": "object" }] });
    let value = ObjectBuilder::new()
        .schema_type(SchemaType::AnyValue)
        .description(Some("A text, a number, a boolean or null."))
        .max_length(Some(context::MAX_CHARACTERS))
        .extensions(Some(Extensions::from_iter([("not", neither)])));
    let name = ObjectBuilder::new()
        .schema_type(Type::String)
        .max_length(Some(context::MAX_CHARACTERS));
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .description(Some(description))
        .max_properties(Some(context::MAX_VALUES))
        .property_names(Some(name.build()))
        .additional_properties(Some(AdditionalProperties::RefOr(value.into())))
        .into()
}

pub(super) fn id() -> RefOr<Schema> {
    text("Names the verification.")
        .pattern(Some("^[0-9a-f]{32}$"))
        .examples(["018bcfe568001f2e3d4c5b6a79880000"])
        .into()
}

pub(super) fn message_id() -> RefOr<Schema> {
    text("Names the message.")
        .pattern(Some("^[0-9a-f]{32}$"))
        .examples(["018bcfe568001f2e3d4c5b6a79880000"])
        .into()
}

pub(super) fn message() -> RefOr<Schema> {
    let description = "What the phone shows: at most ten segments, which are 1530 characters of the SMS alphabet or 670 of \
                       others.";
    required_text(description, "Your parcel arrives tomorrow.")
        .max_length(Some(messages::MAX_CHARACTERS))
        .into()
}

pub(super) fn channel() -> RefOr<Schema> {
    text("How it is sent.")
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .enum_values(Some(messages::CHANNELS))
        .into()
}

pub(super) fn time() -> RefOr<Schema> {
    text("RFC 3339, in UTC.")
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .examples(["2023-11-14T22:13:20Z"])
        .into()
}

pub(super) fn status() -> RefOr<Schema> {
    one_of(
        Status::ALL.map(Status::as_str),
        "`expired`: the code came too late, never, or in another session. `failed`: all attempts are used up. `not_sent`: \
         no SMS was sent.",
    )
}

pub(super) fn delivery() -> RefOr<Schema> {
    one_of(
        Delivery::STATES,
        "`queued`: the SMS is on its way to the provider; `sent`: the provider took it; `delivered`, `undelivered`: the \
         provider reports that it arrived, or did not; `failed`: it was not sent; `unknown`: it is not known whether it was \
         sent, or the provider reports that it does not know what became of it. Later versions may add states.",
    )
}

pub(super) fn failure_class() -> RefOr<Schema> {
    one_of(
        FailureClass::ALL.map(|(_, name)| name),
        "Why it was not sent or not delivered. Not there where that is not known, or it was.",
    )
}

pub(super) fn isolation() -> RefOr<Schema> {
    one_of(
        ["inline", "worker"],
        "Where its library runs: `inline`, in the daemon, or `worker`, in a process of its own.",
    )
}

pub(super) fn readiness() -> RefOr<Schema> {
    one_of(
        ["ready", "degraded", "unready"],
        "`degraded`: some messages are refused, but codes can be checked; the warnings say why.",
    )
}

pub(super) fn breaker() -> RefOr<Schema> {
    one_of(
        ["closed", "open", "probing"],
        "`closed` lets messages through, `open` refuses them, `probing` tries one.",
    )
}

pub(super) fn action() -> RefOr<Schema> {
    let actions = [guard::Action::Allowed, guard::Action::Blocked];
    one_of(actions.map(guard::Action::as_str), "`blocked`: nothing was sent.")
}

pub(super) fn reasons() -> RefOr<Schema> {
    let reason = one_of(
        guard::Reason::ALL.map(guard::Reason::code),
        "A reason of the pumping guard.",
    );
    utoipa::openapi::ArrayBuilder::new()
        .items(reason)
        .description(Some("What spoke against the message."))
        .into()
}
