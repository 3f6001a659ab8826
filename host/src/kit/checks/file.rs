//! The file and its manifest; nothing of the library runs here but in PV001.

use std::collections::BTreeSet;

use crate::{
    backends::LibraryAbout,
    kit::{
        bench::{Bench, Outcome, Stop, fail, warn},
        sample::folded,
    },
};

const MAX_SIZE_BYTES: u64 = 32 << 20;

pub(super) fn is_loadable(bench: &Bench) -> Outcome {
    match &bench.report.refusal {
        Some(refusal) => fail(refusal.to_string()),
        None => match about(bench)?.newer_abi.as_ref() {
            Some(newer) => warn(newer),
            None => Ok(()),
        },
    }
}

fn about(bench: &Bench) -> Result<&LibraryAbout, Stop> {
    bench
        .report
        .about
        .as_ref()
        .ok_or_else(|| Stop::Skip("its manifest cannot be read".to_owned()))
}

pub(super) fn is_described(bench: &Bench) -> Outcome {
    let about = about(bench)?;
    let is_version = about.version.split('.').count() >= 3
        && about.version.starts_with(|first: char| first.is_ascii_digit());
    if !is_version {
        return fail(format!(
            "the version {:?} is not major.minor.patch",
            about.version
        ));
    }
    if about.license.trim().is_empty() {
        return fail(in_their_words(
            about,
            "it names no licence",
            "add license = \"…\" to its Cargo.toml",
            "add \"license\": \"…\" to PV_MANIFEST",
        ));
    }
    match about
        .backends
        .iter()
        .find(|backend| backend.summary.trim().is_empty())
    {
        Some(backend) => fail(in_their_words(
            about,
            &format!("{} has no summary", backend.name),
            "write #[backend(summary = \"…\")]",
            "add \"summary\": \"…\" to its row in PV_MANIFEST",
        )),
        None => Ok(()),
    }
}

pub(super) fn names(bench: &Bench) -> Outcome {
    let mut seen = BTreeSet::new();
    for backend in &about(bench)?.backends {
        if let Err(why) = crate::backends::BackendName::parse(&backend.name) {
            return fail(why);
        }
        if !seen.insert(backend.name.to_lowercase()) {
            return fail(format!(
                "two backends are named {}, but for their case",
                backend.name
            ));
        }
    }
    Ok(())
}

/// The manifest says under which name the library was built, and a host finds it by the name of its file.
pub(super) fn library_name(bench: &Bench) -> Outcome {
    let about = about(bench)?;
    let file = &bench.report.library;
    if about.built_as == *file {
        return Ok(());
    }
    if about.built_as.is_empty() {
        return fail(format!(
            "the manifest does not name the library: add \"library\": {file:?} to PV_MANIFEST"
        ));
    }
    fail(format!(
        "the manifest names the library {:?}, and by its file a host calls it {file:?}; rename one of them",
        about.built_as
    ))
}

pub(super) fn known_keys(bench: &Bench) -> Outcome {
    match about(bench)?.unknown_keys.as_slice() {
        [] => Ok(()),
        warnings => warn(warnings.join("\n")),
    }
}

/// What is wrong, and what to do about it in the language that the library is written in.
fn in_their_words(about: &LibraryAbout, what: &str, in_rust: &str, in_c: &str) -> String {
    format!("{what}: {}", if about.is_rust() { in_rust } else { in_c })
}

pub(super) fn option_names(bench: &Bench) -> Outcome {
    let about = about(bench)?;
    for backend in &about.backends {
        let mut seen = BTreeSet::new();
        for option in &backend.options {
            for name in [&option.name, &option.alias] {
                if !name.is_empty() && !seen.insert(folded(name)) {
                    return fail(format!(
                        "{} has two options named {name}, but for their case",
                        backend.name
                    ));
                }
            }
            if option.name.trim().is_empty() {
                return fail(format!("{} has an option without a name", backend.name));
            }
            if option.help.trim().is_empty() {
                return fail(in_their_words(
                    about,
                    &format!(
                        "the option {} of {} does not say what it is for",
                        option.name, backend.name
                    ),
                    "give its field a doc comment",
                    "add \"help\": \"…\" to its row in PV_MANIFEST",
                ));
            }
        }
    }
    Ok(())
}

pub(super) fn hosts(bench: &Bench) -> Outcome {
    for backend in &about(bench)?.backends {
        for host in &backend.hosts {
            let (name, port) = host.rsplit_once(':').unwrap_or((host, "443"));
            let is_label = |label: &str| {
                !label.is_empty()
                    && label
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            };
            if port.parse::<u16>().is_err() || !name.split('.').all(is_label) {
                return fail(format!(
                    "{} declares {host:?}, which is not host or host:port: no scheme, no path, no wildcard",
                    backend.name
                ));
            }
        }
    }
    Ok(())
}

pub(super) fn size(bench: &Bench) -> Outcome {
    match bench.report.size_bytes {
        Some(size) if size > MAX_SIZE_BYTES => {
            let is_rust = bench.report.about.as_ref().is_none_or(LibraryAbout::is_rust);
            let cure = if is_rust {
                "build it with --release and strip = true"
            } else {
                "build it with optimisation, and without debug information"
            };
            fail(format!("it has {size} bytes: {cure}"))
        }
        _ => Ok(()),
    }
}
