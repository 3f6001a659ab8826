//! `phone-verify routes`: which backends an SMS to a number would be tried with, in which order, and why. Nothing is sent
//! and no library is run.

use clap::Args;
use serde_json::{Value, json};

use super::{Common, output::Failure, register::parse_number};
use crate::{
    clock::Clock,
    model::{Locale, PhoneNumber, Region},
    rules::route::{Mismatch, SMS, Target, type_of},
    settings::{BackendSettings, Settings},
};

#[derive(Args)]
pub(super) struct Routes {
    #[command(flatten)]
    pub(super) common: Common,
    /// The number that a message would go to
    number: String,
    /// The language of the SMS, as in Accept-Language
    #[arg(long, default_value = "", value_name = "TAG")]
    locale: String,
    /// Say of each route why it is taken or not
    #[arg(long)]
    why: bool,
}

/// What there is to say of one route.
struct Judged {
    mismatch: Option<Mismatch>,
    is_taken: bool,
}

impl Routes {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let settings = self.common.load()?;
        let number = parse_number(&self.number, &settings)?;
        let language = Locale(self.locale.clone()).first_tag();
        let target = Target {
            number: &number,
            language: &language,
            channel: SMS,
        };
        let judged = judged(&settings, target);
        let taken = judged.iter().position(|route| route.is_taken);
        let now = Clock::system().now();
        let is_for_tests = settings
            .phone_verification
            .test_numbers
            .code_of(&number, now)
            .is_some();
        let order = if is_for_tests {
            Vec::new()
        } else {
            order(&settings, taken)
        };
        let result = json!({
            "number": number.masked(),
            "country": number.country().map(Region::code),
            "number_type": type_of(&number),
            "language": language,
            "channel": SMS,
            "test_number": is_for_tests,
            "route": taken.map(|place| place + 1),
            "backends": order.iter().map(|backend| json!({
                "member": &*backend.name,
                "backend": backend.backend,
            })).collect::<Vec<_>>(),
            "why": self.why.then(|| judged.iter().zip(1..).map(why).collect::<Vec<_>>()),
        });
        let reaches_nobody = order.is_empty() && !is_for_tests;
        self.common.output().result_of(!reaches_nobody, &result, || {
            let mut lines = vec![about(&number, &language)];
            if is_for_tests {
                lines.push("it is a number for tests: no SMS is sent to it".to_owned());
            } else if reaches_nobody {
                lines.push("no route takes a message to it: it would be refused".to_owned());
            } else if let Some(place) = taken {
                lines.push(format!("route {} takes it", place + 1));
            } else {
                lines.push("there are no routes: all messages go through the first backend".to_owned());
            }
            for (backend, place) in order.iter().zip(1..) {
                lines.push(format!("  {place}. {} ({})", backend.name, backend.backend));
            }
            if self.why {
                lines.extend(judged.iter().zip(1..).map(told));
            }
            lines.join("\n")
        })?;
        if reaches_nobody {
            Err(Failure::told())
        } else {
            Ok(())
        }
    }
}

/// What each route of the settings says to a message.
fn judged(settings: &Settings, target: Target<'_>) -> Vec<Judged> {
    let mut is_free = true;
    let routes = settings.routes.iter().enumerate();
    let judged = routes.map(|(place, route)| {
        let mismatch = route.conditions.mismatch(place, target);
        let is_taken = mismatch.is_none() && std::mem::take(&mut is_free);
        Judged { mismatch, is_taken }
    });
    judged.collect()
}

/// The backends in the order in which they are tried.
fn order(settings: &Settings, taken: Option<usize>) -> Vec<&BackendSettings> {
    if settings.routes.is_empty() {
        return settings.backends.iter().take(1).collect();
    }
    let send = taken.map_or(&[][..], |place| &settings.routes[place].send);
    let named = |name: &String| settings.backends.iter().find(|backend| *backend.name == **name);
    send.iter().filter_map(named).collect()
}

fn about(number: &PhoneNumber, language: &str) -> String {
    let country = number
        .country()
        .map_or_else(|| "unknown".to_owned(), Region::code);
    let language = if language.is_empty() { "any" } else { language };
    format!(
        "{}: country {country}, type {}, language {language}, channel {SMS}",
        number.masked(),
        type_of(number)
    )
}

fn why((route, place): (&Judged, usize)) -> Value {
    json!({
        "route": place,
        "taken": route.is_taken,
        "fails": route.mismatch.map(|mismatch| mismatch.to_string()),
    })
}

fn told((route, place): (&Judged, usize)) -> String {
    match route.mismatch {
        _ if route.is_taken => format!("route {place}: taken, for all its conditions hold"),
        None => format!("route {place}: not looked at, for an earlier one is taken"),
        Some(Mismatch::Share) => format!("route {place}: not taken, for the number is not in its share"),
        Some(mismatch) => format!("route {place}: not taken, for its {mismatch} do not hold"),
    }
}
