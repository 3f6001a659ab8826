//! `[http]`: the proxies and client certificates that the requests of backends use.
//!
//! A proxy in the settings replaces the proxies of the environment. `no_proxy` replaces the environment's `NO_PROXY`.

use std::path::Path;

use phone_verify_plugin_host::{
    ClientCertificate, Outbound, Proxies, Proxy,
    files::{self, Subject},
};
use zeroize::Zeroizing;

use super::{
    document::{Entry, Value},
    reader::{Reader, Section, path, text, texts},
};

const TABLE: &str = "http.client_certificates";

/// Reads the section, and the environment's variables where the section leaves something open.
pub(super) fn read(reader: &mut Reader) -> Outbound {
    let mut section = reader.section("http", false);
    let (proxy, _) = section.get_address("proxy", |value| match text(value)? {
        empty if empty.trim().is_empty() => Ok(None),
        address => Proxy::parse(&address, "[http] proxy").map(Some),
    });
    let no_proxy = section.get("no_proxy", texts).join(",");
    // A proxy in the settings replaces all those of the environment.
    let proxies = match proxy {
        Some(proxy) => Proxies {
            http: Some(proxy.clone()),
            https: Some(proxy),
            exceptions: no_proxy,
        },
        None => Proxies {
            exceptions: no_proxy,
            ..of_environment(&mut section)
        },
    };
    let proxies = if proxies.exceptions.is_empty() {
        Proxies {
            exceptions: variable(["NO_PROXY", "no_proxy"]).map_or_else(String::new, |(_, list)| list),
            ..proxies
        }
    } else {
        proxies
    };
    // Files of certificates are read here, so that a missing or unreadable one is a problem of the settings like any
    // other.
    let (mut certificates, mut shown) = (Vec::new(), Vec::new());
    for row in section.table("client_certificates", false, TABLE) {
        match certificate(&section, &row) {
            Ok(certificate) => {
                shown.push((format!("\"{}\"", row.key), row.value.to_toml()));
                certificates.push(certificate);
            }
            Err(needed) => {
                let message = format!("client_certificates {}: {needed}", row.key);
                section.problem("client_certificates", Some(row.line), &message);
            }
        }
    }
    section.show_table(TABLE, &shown);
    section.finish();
    Outbound {
        proxies,
        certificates,
    }
}

/// The proxies from the environment variables that other programs use too. The variable of a scheme comes before
/// `ALL_PROXY`. A variable that cannot be used is a warning only: it may have been set for another program.
fn of_environment(section: &mut Section<'_>) -> Proxies {
    let mut proxy = |upper, lower| {
        let (name, address) = variable([upper, lower])?;
        let read = Proxy::parse(&address, name);
        if let Err(needed) = &read {
            section.warning(
                None,
                &format!("the environment's {name} is not used: it {needed}"),
            );
        }
        read.ok()
    };
    let all = proxy("ALL_PROXY", "all_proxy");
    Proxies {
        http: proxy("HTTP_PROXY", "http_proxy").or_else(|| all.clone()),
        https: proxy("HTTPS_PROXY", "https_proxy").or(all),
        exceptions: String::new(),
    }
}

/// The name and value of the first of these variables that is not empty.
fn variable(names: [&'static str; 2]) -> Option<(&'static str, String)> {
    names.into_iter().find_map(|name| {
        let value = std::env::var(name)
            .ok()
            .filter(|value| !value.trim().is_empty())?;
        Some((name, value))
    })
}

/// Reads a row of `[http.client_certificates]`: a certificate in PEM, and its key in the same file or in one of its
/// own.
fn certificate(section: &Section<'_>, row: &Entry) -> Result<ClientCertificate, String> {
    let Value::Table(entries) = &row.value else {
        return Err(format!(
            "must be a table, such as {{ certificate_file = \"client.pem\" }}, not {}",
            row.value.kind()
        ));
    };
    let known = ["certificate_file", "key_file"];
    if let Some(unknown) = entries.iter().find(|entry| !known.contains(&entry.key.as_str())) {
        return Err(format!(
            "{} is not a setting; there are certificate_file and key_file",
            unknown.key
        ));
    }
    let folder = section.folder();
    let file = |name: &str| {
        let Some(entry) = entries.iter().find(|entry| entry.key == name) else {
            return Ok(None);
        };
        let named = text(&entry.value).map_err(|needed| format!("{name} {needed}"))?;
        Ok::<_, String>(path(&folder, &named))
    };
    let certificates = file("certificate_file")?.ok_or("certificate_file is missing")?;
    let read = |file: &Path, subject| {
        let read = files::read(file, subject).map(Zeroizing::new);
        read.map_err(|fault| fault.to_string())
    };
    // The file that holds the private key must not be readable for others, whichever of the two it is.
    let pem = match file("key_file")? {
        None => read(&certificates, Subject::ClientKey)?,
        Some(key) => {
            let mut pem = read(&key, Subject::ClientKey)?;
            pem.push(b'\n');
            pem.extend(read(&certificates, Subject::ClientCertificate)?.iter());
            pem
        }
    };
    ClientCertificate::new(&row.key, pem)
}
