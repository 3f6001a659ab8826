//! The log: lines on standard error, as text or JSON. `RUST_LOG` overrides the settings' level.
//!
//! Invariants: what is logged was masked by its type; all that the daemon says goes through one writer, so that nobody
//! waits for a reader and nothing fails for the lack of one; and what a line looks like is decided in one place.

mod line;
#[cfg(unix)]
mod printed;
mod writer;

use std::{
    io::{IsTerminal, Write, stderr, stdout},
    panic::PanicHookInfo,
    sync::OnceLock,
    thread,
    time::Duration,
};

#[cfg(unix)]
use std::{
    io,
    sync::{Mutex, PoisonError},
};

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, registry, util::SubscriberInitExt};

use self::{
    line::{Lines, Style},
    writer::Writer,
};
use crate::settings::{Log, LogFormat, filter_of, is_filter};

static LOG: Writer = Writer::new();
/// Set once lines are written.
static STYLE: OnceLock<Style> = OnceLock::new();
#[cfg(unix)]
static PRINTED: Mutex<Option<printed::Printed>> = Mutex::new(None);

/// The variable that goes before the level in the settings.
const LEVEL_VARIABLE: &str = "RUST_LOG";
/// How long who may be about to end the process waits for the last line.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Starts logging. A second call changes nothing.
pub fn start(log: &Log) {
    let style = Style {
        format: log.format,
        colours: stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        priorities: is_journal(),
    };
    if STYLE.get().is_some() {
        return;
    }
    let to = standard_error();
    let writes = thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || LOG.run(to, style));
    if writes.is_err() || STYLE.set(style).is_err() {
        // Without a thread nothing is logged; a process that has none for this has none to serve with.
        return;
    }
    let (filter, complaint) = filter(log);
    let _ = registry().with(filter).with(Lines(style)).try_init();
    std::panic::set_hook(Box::new(log_panic));
    if let Some(complaint) = complaint {
        tracing::warn!("{complaint}");
    }
}

/// How many lines of the log were lost since the start: nothing took them in time.
pub fn lost_lines() -> u64 {
    LOG.lost()
}

/// Says why the program does not start or a command fails; `false`: nothing is logged yet, so that the caller has to.
pub(crate) fn tell_problem(problem: &str) -> bool {
    let Some(style) = STYLE.get() else { return false };
    LOG.push(&style.problem(problem));
    true
}

/// Says what a person should know together with a problem; `false` as above.
pub(crate) fn tell_warning(text: &str) -> bool {
    let Some(style) = STYLE.get() else { return false };
    LOG.push(&style.warning(text));
    true
}

/// Leads what libraries in this process print into the log, each line as `clean` makes it. For the daemon: a command
/// may wait for whoever reads it.
#[cfg(unix)]
pub(crate) fn follow_prints(clean: fn(&str) -> String) {
    let Some(style) = STYLE.get() else { return };
    match printed::Printed::follow(*style, clean) {
        Ok(followed) => *printed_streams() = Some(followed),
        Err(error) => tracing::warn!(%error, "what libraries print is not led into the log"),
    }
}

/// Not on this system.
#[cfg(not(unix))]
pub(crate) fn follow_prints(_: fn(&str) -> String) {}

/// Whether what libraries in this process print is logged as they print it, secrets included.
pub(crate) fn show_as_printed(is_shown: bool) {
    #[cfg(unix)]
    printed::show_as_printed(is_shown);
    #[cfg(not(unix))]
    let _ = is_shown;
}

/// Prints a text to the standard output of the daemon, without waiting for its reader. Nothing in the format JSON:
/// there the log says it.
pub(crate) fn announce(text: String) {
    if STYLE.get().is_some_and(|style| style.format == LogFormat::Json) {
        return;
    }
    // It ends with the process, should nobody read.
    let _ = thread::Builder::new().name("announce".to_owned()).spawn(move || {
        #[cfg(unix)]
        {
            // Not in one statement with the write: that may never end, and would keep the lock as long.
            let followed = printed_streams().as_ref().map(printed::Printed::stdout);
            if let Some(stdout) = followed {
                return std::fs::File::from(stdout?).write_all(text.as_bytes());
            }
        }
        let mut stdout = stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
    });
}

/// Waits until all is written, at most for `limit`; `None`: as long as it takes.
pub(crate) fn finish(limit: Option<Duration>) {
    if STYLE.get().is_none() {
        return;
    }
    #[cfg(unix)]
    if let Some(followed) = printed_streams().take() {
        followed.end(limit.unwrap_or(LAST_WORDS));
    }
    LOG.flush(limit);
}

#[cfg(unix)]
fn printed_streams() -> std::sync::MutexGuard<'static, Option<printed::Printed>> {
    PRINTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is logged, and what there is to say against the variable.
fn filter(log: &Log) -> (EnvFilter, Option<String>) {
    let settings = || filter_of(&log.level).unwrap_or_default();
    let Some(value) = std::env::var_os(LEVEL_VARIABLE) else {
        return (settings(), None);
    };
    let value = value.to_string_lossy();
    if value.trim().is_empty() {
        return (settings(), None);
    }
    match filter_of(value.trim()) {
        Some(filter) if is_filter(value.trim()) => (filter, None),
        _ => (
            settings(),
            Some(format!(
                "{LEVEL_VARIABLE} is {value:?}, which is no level and no filter; [log] level holds. It must be error, \
                 warn, info, debug, trace or a filter such as \"info,phone_verify_plugin_host=debug\""
            )),
        ),
    }
}

/// A panic is logged like all else, and never prints: that may wait, and would be no line of the log.
fn log_panic(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let what = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word");
    tracing::error!(
        location = info.location().map(tracing::field::display),
        thread = thread::current().name(),
        "panicked: {what}"
    );
    say_last_words();
}

/// Waits a moment for what was logged to be written: the process may be about to end.
pub(crate) fn say_last_words() {
    if STYLE.get().is_some() && !LOG.is_stuck() {
        LOG.flush(Some(LAST_WORDS));
    }
}

/// Standard error, under a descriptor that nothing else leads elsewhere.
fn standard_error() -> impl Write + Send + 'static {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        match stderr().as_fd().try_clone_to_owned() {
            Ok(own) => Patient::Own(own.into()),
            Err(_) => Patient::Shared,
        }
    }
    #[cfg(not(unix))]
    stderr()
}

/// Whoever started the program may have made standard error such that a write fails where it would wait.
#[cfg(unix)]
enum Patient {
    Own(std::fs::File),
    /// There was no descriptor left.
    Shared,
}

#[cfg(unix)]
impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        use rustix::event::{PollFd, PollFlags, poll};

        loop {
            let file = match self {
                Self::Own(file) => file,
                Self::Shared => return stderr().write(bytes),
            };
            match file.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&*file, PollFlags::OUT)], None)?;
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether standard error is a stream to systemd's journal, as `systemd.exec(5)` says it can be told.
fn is_journal() -> bool {
    #[cfg(unix)]
    {
        let Ok(stat) = rustix::fs::fstat(stderr()) else {
            return false;
        };
        std::env::var("JOURNAL_STREAM")
            .is_ok_and(|stream| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
    }
    #[cfg(not(unix))]
    false
}
