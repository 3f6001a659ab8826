//! `[api]`: the API keys of clients, with the scopes of each.
//!
//! The settings hold digests of keys, never keys. An operator may paste a key where its digest belongs, so no problem
//! repeats the value.

use super::{
    document::{Entry, Value},
    reader::{Reader, text, texts},
    server::Server,
};
use crate::model::{ApiKey, DropIn, KeyDigest, Scope};

/// The settings of the native API.
#[derive(Clone, Debug)]
pub struct Api {
    /// The keys that clients may present. Empty: every client that reaches the server may use the native API.
    pub keys: Vec<ApiKey>,
}

/// The warning for a file that has keys but does not decide about the drop-in endpoints. Its author may believe that
/// the keys protect these endpoints too.
const OPEN_BESIDE_KEYS: &str = "the keys keep /v1 and /metrics, but /api/phone/register and /api/phone/verify stay open to \
                                everybody who reaches them; say whether they shall, in [server] drop_in_endpoints: true, \
                                \"key\" or false";

impl Api {
    pub(super) fn read(reader: &mut Reader, server: &Server) -> Self {
        let mut section = reader.section("api", false);
        let rows = section.table("keys", false, "api.keys");
        let (mut keys, mut shown) = (Vec::<ApiKey>::new(), Vec::new());
        for row in rows {
            // The message never repeats the value: it may be a key that was pasted instead of its digest.
            let read = key(&row).and_then(|key| not_again(key, &keys));
            match read {
                Ok(key) => {
                    shown.push((row.key, value_of(&key)));
                    keys.push(key);
                }
                Err(needed) => {
                    section.problem("keys", Some(row.line), &format!("keys.{} {needed}", row.key));
                }
            }
        }
        section.show_table("api.keys", &shown);
        // The settings of the drop-in endpoints are in [server], but depend on the keys.
        match server.drop_in_endpoints {
            DropIn::Key if section.are_known(&["keys"]) && !keys.iter().any(|key| key.may(Scope::Verify)) => section.problem(
                "keys",
                None,
                "none of the keys has the scope verify, which [server] drop_in_endpoints = \"key\" asks for",
            ),
            DropIn::Open if !keys.is_empty() && !server.names_drop_in_endpoints => {
                section.warning(None, OPEN_BESIDE_KEYS);
            }
            _ => {}
        }
        section.finish();
        Self { keys }
    }
}

/// Reads a row: a digest alone, which has every scope, or a table of a digest and its scopes.
fn key(row: &Entry) -> Result<ApiKey, String> {
    if !ApiKey::is_name(&row.key) {
        return Err("is not a name: that is 1 to 64 letters, digits, dashes and underscores".to_owned());
    }
    let (digest, scopes) = match &row.value {
        Value::Table(entries) => from_table(entries)?,
        alone => (digest(alone)?, Scope::ALL.to_vec()),
    };
    Ok(ApiKey {
        name: row.key.as_str().into(),
        digest,
        scopes,
    })
}

fn from_table(entries: &[Entry]) -> Result<(KeyDigest, Vec<Scope>), String> {
    let known = ["digest", "scopes"];
    if let Some(unknown) = entries.iter().find(|entry| !known.contains(&&*entry.key)) {
        return Err(format!(
            "has {}, which is not a setting; there are digest and scopes",
            unknown.key
        ));
    }
    let get = |key: &str| entries.iter().find(|entry| entry.key == key);
    let digest = get("digest").ok_or("needs digest, such as `phone-verify keys new` prints")?;
    let given = get("scopes").ok_or_else(|| format!("needs scopes, of {}", Scope::names()))?;
    Ok((self::digest(&digest.value)?, scopes(&given.value)?))
}

fn digest(value: &Value) -> Result<KeyDigest, String> {
    let digest = text(value).ok().and_then(|text| KeyDigest::parse(&text));
    digest.ok_or_else(|| {
        "must be a digest such as `phone-verify keys new` prints: sha256: and 64 hexadecimal digits"
            .to_owned()
    })
}

fn scopes(value: &Value) -> Result<Vec<Scope>, String> {
    let needed = || format!("needs scopes, a list with one or more of {}", Scope::names());
    let names = texts(value).map_err(|_| needed())?;
    if names.is_empty() {
        return Err(needed());
    }
    let scope = |name: &String| {
        Scope::parse(name).ok_or_else(|| format!("has the scope {name:?}; the scopes are {}", Scope::names()))
    };
    names.iter().map(scope).collect()
}

/// Refuses a digest that another name has already. The key would have the scopes of both names, and the log would show
/// only one of them.
fn not_again(key: ApiKey, others: &[ApiKey]) -> Result<ApiKey, String> {
    match others.iter().find(|other| other.digest == key.digest) {
        Some(other) => Err(format!(
            "has the same digest as keys.{}; each name needs a key of its own",
            other.name
        )),
        None => Ok(key),
    }
}

/// The key as it is written in the settings.
fn value_of(key: &ApiKey) -> String {
    let digest = format!("{:?}", key.digest.to_string());
    if Scope::ALL.iter().all(|scope| key.may(*scope)) {
        return digest;
    }
    let scopes: Vec<String> = key
        .scopes
        .iter()
        .map(|scope| format!("{:?}", scope.as_str()))
        .collect();
    format!("{{ digest = {digest}, scopes = [{}] }}", scopes.join(", "))
}

#[cfg(test)]
mod tests {
    use crate::{
        model::Scope,
        settings::tests::{REQUIRED, parse, problems},
    };

    fn digest(digit: &str) -> String {
        format!("\"sha256:{}\"", digit.repeat(64))
    }

    fn with(lines: &str) -> String {
        format!("{REQUIRED}\n[api.keys]\n{lines}\n")
    }

    #[test]
    fn a_digest_alone_means_every_scope_and_a_table_says_which() {
        let (all, one) = (digest("a"), digest("b"));
        let settings = parse(&with(&format!(
            "shop = {all}\nprometheus = {{ digest = {one}, scopes = [\"metrics\"] }}"
        )))
        .unwrap();
        let [shop, prometheus] = settings.api.keys.as_slice() else {
            panic!("{:?}", settings.api)
        };
        assert!(Scope::ALL.into_iter().all(|scope| shop.may(scope)));
        assert!(settings.warnings[0].to_string().contains("/api/phone/register"));
        assert_eq!(&*prometheus.name, "prometheus");
        assert_eq!(prometheus.scopes, [Scope::Metrics]);
        for line in [
            format!("shop = {all}"),
            format!("prometheus = {{ digest = {one}, scopes = [\"metrics\"] }}"),
        ] {
            assert!(settings.effective.contains(&line), "{}", settings.effective);
        }
    }

    #[test]
    fn a_key_that_cannot_be_used_is_told_with_what_is_needed() {
        let one = digest("a");
        for (lines, told) in [
            (
                "shop = \"pv_secret\"".to_owned(),
                "keys.shop must be a digest such as `phone-verify keys new` prints",
            ),
            (
                "shop = { digest = \"pv_secret\", scopes = [\"read\"] }".to_owned(),
                "keys.shop must be a digest",
            ),
            (
                format!("shop = {{ digest = {one} }}"),
                "keys.shop needs scopes, of verify, read, messages, metrics and admin",
            ),
            (
                format!("shop = {{ digest = {one}, scopes = [] }}"),
                "keys.shop needs scopes, a list",
            ),
            (
                format!("shop = {{ digest = {one}, scopes = \"read\" }}"),
                "keys.shop needs scopes, a list",
            ),
            (
                format!("shop = {{ digest = {one}, scopes = [\"metric\"] }}"),
                "keys.shop has the scope \"metric\"; the scopes are",
            ),
            (
                "shop = { scopes = [\"read\"] }".to_owned(),
                "keys.shop needs digest",
            ),
            (
                format!("shop = {{ digest = {one}, scope = [\"read\"], scopes = [\"read\"] }}"),
                "keys.shop has scope, which is not a setting",
            ),
            (
                format!("shop = {one}\nbank = {one}"),
                "keys.bank has the same digest as keys.shop",
            ),
            (format!("\"a b\" = {one}"), "keys.a b is not a name"),
        ] {
            let found = problems(&with(&lines)).join("\n");
            assert!(found.contains(told), "{told} in {found}");
            assert!(!found.contains("pv_secret"), "{found}");
        }
    }
}
