//! `[[routes]]`: which backends a message is tried with, and in which order. Without any, all messages go through the
//! first backend.

use super::{
    BackendSettings,
    document::Value,
    limits::money,
    reader::{Reader, flag, text, texts},
    row::Row,
};
use crate::{
    model::{PhoneNumber, Region, language::Language},
    rules::route::{Conditions, SMS, Share, number_types},
};

const SECTION: &str = "routes";
/// The most routes. Each message is held against them one after the other.
const MAX_ROUTES: usize = 1000;

/// One route.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteSettings {
    /// Which messages take it.
    pub conditions: Conditions,
    /// The names of the backends, in the order in which they are tried.
    pub send: Vec<String>,
    /// Whether the next one is tried where one may not send to the number's network.
    pub destination_failover: bool,
}

/// Reads the list, and holds it against the fleet.
pub(super) fn read(reader: &mut Reader, backends: &[BackendSettings]) -> Vec<RouteSettings> {
    let rows = reader.list(SECTION);
    // A faulty backend is missing from the fleet, but is in the file: do not report its name as unknown.
    let knows_backends = !reader.is_in_doubt("backends");
    let names: Vec<&str> = backends.iter().map(|backend| &*backend.name).collect();
    let known = knows_backends.then_some(names.as_slice());
    let mut routes: Vec<RouteSettings> = Vec::new();
    if let Some((line, _)) = rows.get(MAX_ROUTES) {
        let message = format!("[[{SECTION}]] has more than {MAX_ROUTES} routes; keep at most as many");
        reader.report(SECTION, Some(*line), message);
    }
    let has_routes = !rows.is_empty();
    for (place, (line, value)) in rows.into_iter().take(MAX_ROUTES).enumerate() {
        let header = format!("[[{SECTION}]] {}", place + 1);
        if let Some(row) = Row::new(reader, SECTION, header, line, value)
            && let Some(route) = route(row, line, &routes, known)
        {
            routes.push(route);
        }
    }
    if has_routes && !reader.is_in_doubt(SECTION) && knows_backends {
        warn_of_gaps(reader, &routes, backends);
    }
    routes
}

fn route(
    mut row: Row<'_>,
    line: usize,
    before: &[RouteSettings],
    known: Option<&[&str]>,
) -> Option<RouteSettings> {
    let conditions = Conditions {
        countries: some(&mut row, "countries", |value| each(value, country)),
        prefixes: some(&mut row, "prefixes", |value| each(value, prefix)),
        number_types: some(&mut row, "number_types", |value| each(value, number_type)),
        languages: some(&mut row, "languages", |value| each(value, language)),
        channels: some(&mut row, "channels", |value| each(value, channel)),
        share: row.get("share", share).map(|(share, _)| share),
    };
    let send = if row.has("send") {
        row.get("send", |value| send(value, known)).map(|(send, _)| send)
    } else {
        row.leave_out("send");
        row.problem(
            line,
            "send is missing; name the backends there, in the order in which they are tried",
        );
        None
    };
    let destination_failover = row.get("destination_failover", flag);
    if let Some(place) = before
        .iter()
        .position(|earlier| conditions.are_within(&earlier.conditions))
    {
        let message = format!(
            "is taken by no message, since route {} takes all of its own; put it before that one, or remove it",
            place + 1
        );
        row.warning(line, &message);
    }
    row.finish_in_list(SECTION);
    Some(RouteSettings {
        conditions,
        send: send?,
        destination_failover: destination_failover.is_some_and(|(is_on, _)| is_on),
    })
}

/// Messages that no route takes, and backends that have none.
fn warn_of_gaps(reader: &mut Reader, routes: &[RouteSettings], backends: &[BackendSettings]) {
    if !routes.iter().any(|route| route.conditions.hold_always()) {
        let message = format!(
            "[[{SECTION}]]: a message for which no route's conditions hold is refused; add a last route without conditions \
             if that is not meant"
        );
        reader.warn(None, message);
    }
    let is_used = |backend: &&BackendSettings| {
        let mut used = routes.iter().flat_map(|route| &route.send);
        used.any(|name| **name == *backend.name)
    };
    for unused in backends.iter().filter(|backend| !is_used(backend)) {
        let message = format!(
            "the backend {} is in no route, so no message goes through it; add it to the send of a route, or remove it",
            unused.name
        );
        reader.warn(unused.line(), message);
    }
}

/// A list of conditions; empty where it is not there.
fn some<T>(row: &mut Row<'_>, key: &'static str, read: impl Fn(&Value) -> Result<Vec<T>, String>) -> Vec<T> {
    row.get(key, read).map_or_else(Vec::new, |(list, _)| list)
}

/// Reads a list that is not empty.
fn each<T>(value: &Value, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    match texts(value)? {
        list if list.is_empty() => Err("must name at least one; leave it out where all are meant".to_owned()),
        list => list.iter().map(|text| read(text)).collect(),
    }
}

fn country(text: &str) -> Result<Region, String> {
    Region::parse(text).ok_or_else(|| format!("must be ISO 3166 country codes such as DE, not {text}"))
}

fn prefix(text: &str) -> Result<String, String> {
    PhoneNumber::parse_beginning(text)
        .ok_or_else(|| format!("must be beginnings of numbers such as +4915, not {text}"))
}

fn number_type(text: &str) -> Result<&'static str, String> {
    number_types().find(|known| *known == text).ok_or_else(|| {
        let known: Vec<&str> = number_types().collect();
        format!("must be among {}, not {text}", known.join(", "))
    })
}

fn language(text: &str) -> Result<String, String> {
    let tag = text.to_lowercase().replace('_', "-");
    match Language::parse(&tag) {
        Some(_) => Ok(tag),
        None => Err(format!("must be language tags such as es or pt-BR, not {text}")),
    }
}

fn channel(text: &str) -> Result<String, String> {
    if text == SMS {
        Ok(text.to_owned())
    } else {
        Err(format!("must be among {SMS}, not {text}"))
    }
}

fn share(value: &Value) -> Result<Share, String> {
    let needed =
        || "must be above 0 and at most 1, such as 0.05, with up to six digits after the point".to_owned();
    let millionths = money(value).map_err(|_| needed())?;
    Share::of_millionths(millionths).ok_or_else(needed)
}

/// Reads the names of backends. With `None` the backends are in doubt, so the names are not checked.
fn send(value: &Value, known: Option<&[&str]>) -> Result<Vec<String>, String> {
    let one = text(value).ok().map(|name| vec![name]);
    let names = one.map_or_else(|| texts(value), Ok)?;
    if names.is_empty() {
        return Err("must name at least one backend".to_owned());
    }
    if let Some(twin) = names
        .iter()
        .enumerate()
        .find_map(|(at, name)| names[..at].contains(name).then_some(name))
    {
        return Err(format!("names {twin} twice; keep one"));
    }
    if let Some(known) = known
        && let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str()))
    {
        let known = known.join(", ");
        return Err(format!(
            "names {unknown}, which is no backend of the settings; there are {known}"
        ));
    }
    Ok(names)
}
