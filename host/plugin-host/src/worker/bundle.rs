//! What is kept of a worker process that died of its library, for the library's author: one file for each crash, in a
//! folder that only this user can read.
//!
//! Invariants: at most [`MAX_BUNDLES`] are kept, of at most some 16 KiB each; and none holds a number, a code, a secret
//! or the text of an SMS: what was printed is masked as in the log, and of what the process says of its registers only
//! places in mapped code are taken, each read letter by letter, for it is the library's word.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use object::Object;
use serde::{Deserialize, Serialize};

use super::death::Death;
use crate::{
    files::{self, Subject},
    load,
};

/// The oldest make room.
const MAX_BUNDLES: usize = 20;
const FORMAT: u32 = 1;
/// Of a library's mapping: a larger place is none.
const MAX_OFFSET_DIGITS: usize = 7;

/// One crash.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Bundle {
    /// The form of this file.
    format: u32,
    /// When it was found, in UTC.
    pub at: String,
    /// This program.
    host: Host,
    /// Whose code it was.
    pub library: Culprit,
    /// One of the codes of refusals.
    pub code: String,
    /// In a word.
    cause: String,
    /// In a sentence, without a subject.
    pub what: String,
    /// What ended the process, if a signal did.
    signal: Option<i32>,
    /// What it ended with, if it ended itself.
    exit_code: Option<i32>,
    /// What it printed last, masked as in the log.
    last_lines: Vec<String>,
    /// Whether nothing in it could reach a network.
    is_sandboxed: bool,
    /// What the process could say of its state.
    state: Option<State>,
}

/// This program, and what it runs on.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Host {
    version: String,
    os: String,
    arch: String,
}

/// A library, as its manifest and its file tell.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Culprit {
    /// `acme`.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// The version of the ABI that it was built against.
    pub abi: String,
    /// The version of the author's crate; empty: the C header.
    pub plugin_api: String,
    /// The hash of its file.
    pub sha256: String,
    /// What its linker wrote into it, to find the symbols by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
}

/// The processor's state where it crashed. A place is `library+0x1234`: the offset from where the library is mapped, as
/// `addr2line -e libacme.so 0x1234` takes it. Of a value that is no place only a class is said.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
struct State {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
    registers: BTreeMap<String, String>,
    /// The innermost first. They are what lies on the stack and follows a call, so that some may be left of earlier
    /// calls.
    return_addresses: Vec<String>,
}

/// A bundle with the number that it is asked for by.
#[derive(Clone, Debug, Serialize)]
pub struct Numbered {
    /// Greater for a later crash.
    pub number: u64,
    /// It.
    #[serde(flatten)]
    pub bundle: Bundle,
}

/// What is known where a process is found dead.
pub(super) struct Found<'a> {
    pub(super) at: String,
    pub(super) library: &'a Culprit,
    /// Its private copy, for what stands in the file.
    pub(super) copy: &'a Path,
    pub(super) death: &'a Death,
    pub(super) status: Option<ExitStatus>,
    pub(super) last_lines: Vec<String>,
    pub(super) is_sandboxed: bool,
    /// The line that its handler wrote.
    pub(super) line: Option<String>,
}

/// Keeps one, and says under which number.
pub(super) fn keep(folder: &Path, found: Found<'_>) -> Result<u64, String> {
    let shown = folder.display().to_string();
    let folder = files::private_folder(folder, Subject::Crashes).map_err(|fault| fault.to_string())?;
    let cannot = |error: io::Error| format!("{shown} cannot be written: {error}");
    let text = serde_json::to_string_pretty(&Bundle::of(found)).map_err(|error| error.to_string())?;
    let mut kept = numbers(&folder).map_err(cannot)?;
    let mut number = kept.last().map_or(1, |last| last + 1);
    let mut file = tempfile::Builder::new()
        .prefix(".crash-")
        .tempfile_in(&folder)
        .map_err(cannot)?;
    file.write_all(text.as_bytes()).map_err(cannot)?;
    loop {
        match file.persist_noclobber(path(&folder, number)) {
            Ok(_) => break,
            // Another process was faster.
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                file = error.file;
                number += 1;
            }
            Err(error) => return Err(cannot(error.error)),
        }
    }
    kept.push(number);
    let surplus = kept.len().saturating_sub(MAX_BUNDLES);
    for old in kept.drain(..surplus) {
        // One that stays goes the next time.
        let _ = fs::remove_file(path(&folder, old));
    }
    Ok(number)
}

/// All that are kept, the latest first. What is no bundle is left out.
///
/// # Errors
/// When the folder cannot be read.
pub fn kept(folder: &Path) -> io::Result<Vec<Numbered>> {
    let numbers = match numbers(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        numbers => numbers?,
    };
    let bundles = numbers.into_iter().rev().filter_map(|number| {
        let text = files::read_text(&path(folder, number), Subject::Crashes).ok()?;
        let bundle = serde_json::from_str(&text).ok()?;
        Some(Numbered { number, bundle })
    });
    Ok(bundles.collect())
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("crash-{number}.json"))
}

/// Of the files that are there, in order.
fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_str().and_then(|name| name.strip_prefix("crash-"));
        numbers.extend(name.and_then(|name| name.strip_suffix(".json")?.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

impl Bundle {
    fn of(found: Found<'_>) -> Self {
        let what = found
            .death
            .what
            .split("; it last wrote: ")
            .next()
            .unwrap_or_default();
        Self {
            format: FORMAT,
            at: found.at,
            host: Host {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                os: std::env::consts::OS.to_owned(),
                arch: std::env::consts::ARCH.to_owned(),
            },
            library: Culprit {
                build_id: build_id(found.copy),
                ..found.library.clone()
            },
            code: found.death.code.to_owned(),
            cause: found.death.cause().to_owned(),
            what: what.to_owned(),
            signal: found.status.and_then(signal),
            exit_code: found.status.and_then(|status| status.code()),
            last_lines: found.last_lines,
            is_sandboxed: found.is_sandboxed,
            state: found.line.as_deref().and_then(State::parse),
        }
    }
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

/// Other systems have none.
#[cfg(not(unix))]
fn signal(_status: ExitStatus) -> Option<i32> {
    None
}

fn build_id(copy: &Path) -> Option<String> {
    let bytes = files::read(copy, Subject::PrivateCopies).ok()?;
    let object = object::File::parse(bytes.as_slice()).ok()?;
    let id = object.build_id().ok()??;
    Some(data_encoding::HEXLOWER.encode(id.get(..id.len().min(32))?))
}

impl State {
    /// Of the line that the handler in the process wrote, or that the library wants to be taken for it: what is not of
    /// its form is left out.
    fn parse(line: &str) -> Option<Self> {
        let mut state = Self::default();
        for part in line.strip_prefix(load::crash::MARK)?.split(' ') {
            let Some((name, value)) = part.split_once('=') else {
                continue;
            };
            match name {
                "fault" => state.fault = place(value),
                "returns" => state.return_addresses = value.split(',').filter_map(place).collect(),
                _ if is_register(name) => {
                    if let Some(place) = place(value) {
                        state.registers.insert(name.to_owned(), place);
                    }
                }
                _ => {}
            }
        }
        Some(state)
    }
}

/// `rip`, `r8`, `x30`.
fn is_register(name: &str) -> bool {
    const NAMED: [&str; 12] = [
        "rip", "rsp", "rbp", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "pc", "sp", "lr",
    ];
    let number = name
        .strip_prefix(['r', 'x'])
        .and_then(|number| number.parse::<u8>().ok());
    NAMED.contains(&name) || number.is_some_and(|number| number <= 30)
}

/// A class, or an offset in what is mapped.
fn place(value: &str) -> Option<String> {
    if ["near-null", "stack", "other"].contains(&value) {
        return Some(value.to_owned());
    }
    let (module, offset) = value.split_once("+0x")?;
    let is_offset = (1..=MAX_OFFSET_DIGITS).contains(&offset.len())
        && offset
            .bytes()
            .all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit));
    (load::crash::NAMES.contains(&module) && is_offset).then(|| value.to_owned())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn parsed(rest: &str) -> State {
        State::parse(&format!("{}{rest}", load::crash::MARK)).expect("it begins with the mark")
    }

    #[test]
    fn of_what_a_process_says_only_places_are_taken() {
        let state = parsed(
            "signal=11 fault=near-null rip=library+0x1f3a rsp=stack r8=other rax=123456 rbx=+13478379634 x31=other \
             secret=library+0x1 rcx=secret+0x1 rdx=library+0x123456789 rsi=library+0x12G returns=library+0x12,host+0x34,998877",
        );
        assert_eq!(state.fault.as_deref(), Some("near-null"));
        let registers: Vec<(&str, &str)> = state
            .registers
            .iter()
            .map(|(name, place)| (name.as_str(), place.as_str()))
            .collect();
        assert_eq!(
            registers,
            [("r8", "other"), ("rip", "library+0x1f3a"), ("rsp", "stack")]
        );
        assert_eq!(state.return_addresses, ["library+0x12", "host+0x34"]);
        assert_eq!(State::parse("signal=11"), None);
    }

    #[test]
    fn the_latest_are_kept_and_no_more_than_there_is_room_for() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("crashes");
        assert!(kept(&folder).unwrap().is_empty());
        let death = Death::new(None, &super::super::death::Remains::default());
        let library = Culprit {
            name: "acme".to_owned(),
            ..Culprit::default()
        };
        let found = || Found {
            at: "2026-01-01T00:00:00Z".to_owned(),
            library: &library,
            copy: Path::new("/nowhere"),
            death: &death,
            status: Some(ExitStatus::from_raw(11)),
            last_lines: vec!["a line".to_owned()],
            is_sandboxed: true,
            line: None,
        };
        for number in 1..=25 {
            assert_eq!(keep(&folder, found()).unwrap(), number);
        }
        let kept = kept(&folder).unwrap();
        assert_eq!(
            (kept.len(), kept[0].number, kept[19].number),
            (MAX_BUNDLES, 25, 6)
        );
        assert_eq!(kept[0].bundle.signal, Some(11));
    }
}
