//! Checks of the library's file and its manifest. Except for PV001, they run no code of the library.

use std::collections::BTreeSet;

use phone_verify_plugin_host::LibraryAbout;

use crate::kit::{
    bench::{Bench, Outcome, Stop, fail, sentences, warn},
    sample::folded,
};

/// The largest library, in bytes. Larger ones usually carry debug information.
const MAX_SIZE_BYTES: u64 = 32 << 20;

/// Opens the library as a daemon would. Warns when only a worker process can load it, or when it was built for a newer
/// minor version of the ABI.
pub(super) fn is_loadable(bench: &Bench) -> Outcome {
    match &bench.report.refusal {
        Some(refusal) => return fail(refusal.to_string()),
        None => bench.open().or_else(|refusals| fail(sentences(&refusals)))?,
    }
    let inline = bench.report.inline_refusal.as_ref();
    let inline = inline.map(|refusal| format!("in the daemon's own process it would be refused: {refusal}"));
    let words: Vec<String> = about(bench)?.newer_abi.iter().cloned().chain(inline).collect();
    if words.is_empty() {
        Ok(())
    } else {
        warn(words.join("\n"))
    }
}

fn about(bench: &Bench) -> Result<&LibraryAbout, Stop> {
    bench
        .report
        .about
        .as_ref()
        .ok_or_else(|| Stop::Skip("its manifest cannot be read".to_owned()))
}

/// `plugin inspect` shows version, licence and summary to the operator who decides whether to use a library.
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
        let cure = bench.in_their_words(
            "add license = \"…\" to its Cargo.toml",
            "add \"license\": \"…\" to PV_MANIFEST",
        );
        return fail(format!("it names no licence: {cure}"));
    }
    match about
        .backends
        .iter()
        .find(|backend| backend.summary.trim().is_empty())
    {
        Some(backend) => {
            let cure = bench.in_their_words(
                "write #[backend(summary = \"…\")]",
                "add \"summary\": \"…\" to its row in PV_MANIFEST",
            );
            fail(format!("{} has no summary: {cure}", backend.name))
        }
        None => Ok(()),
    }
}

/// Names in settings are compared without regard to case, so two backends must differ in more than that.
pub(super) fn names(bench: &Bench) -> Outcome {
    let mut seen = BTreeSet::new();
    for backend in &about(bench)?.backends {
        if let Err(why) = phone_verify_plugin_host::BackendName::parse(&backend.name) {
            return fail(why.sentence);
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

/// The name in the manifest must be the name of the file: the host finds a library by its file name, and a renamed file
/// would also get another library's settings.
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

/// An unknown key in the manifest is usually a misspelt one, which hosts ignore.
pub(super) fn known_keys(bench: &Bench) -> Outcome {
    match about(bench)?.unknown_keys.as_slice() {
        [] => Ok(()),
        warnings => warn(warnings.join("\n")),
    }
}

/// Option keys are compared without regard to case and hyphens, and each needs a help text for the operator.
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
                let cure = bench.in_their_words(
                    "give its field a doc comment",
                    "add \"help\": \"…\" to its row in PV_MANIFEST",
                );
                return fail(format!(
                    "the option {} of {} does not say what it is for: {cure}",
                    option.name, backend.name
                ));
            }
        }
    }
    Ok(())
}

/// The host's HTTP client compares the declared hosts exactly, so a URL or wildcard would match nothing.
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

/// Limits the file to [`MAX_SIZE_BYTES`].
pub(super) fn size(bench: &Bench) -> Outcome {
    match bench.report.size_bytes {
        Some(size) if size > MAX_SIZE_BYTES => {
            let cure = bench.in_their_words(
                "build it with --release and strip = true",
                "build it with optimisation, and without debug information",
            );
            fail(format!("it has {size} bytes: {cure}"))
        }
        _ => Ok(()),
    }
}
