//! The only writer of the log. Lines wait in memory, and one thread writes them.
//!
//! Invariants: a thread that logs never waits for the reader of the log, and logging never fails. At most
//! [`MAX_WAITING_BYTES`] wait. A line that finds no room, or that cannot be written, is counted as lost, and the log
//! says how many were lost as soon as it can be written again.

use std::{
    io::{self, Write},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::line::Style;

/// The most bytes that may wait to be written: about 4,000 lines. The thread may hold as many again while it writes
/// them.
const MAX_WAITING_BYTES: usize = 1 << 20;
/// How much of that room is reserved for lines of the program. Libraries in this process cannot fill it with what they
/// print.
#[cfg(unix)]
const KEPT_FOR_THE_LOG: usize = MAX_WAITING_BYTES / 2;
/// A write that takes longer than this is waiting for a reader.
const STUCK: Duration = Duration::from_millis(100);

/// Takes lines from all threads, and counts those that are lost.
pub(super) struct Writer {
    waiting: Mutex<Waiting>,
    /// Signals that there are lines to write.
    filled: Condvar,
    /// Signals that all lines are written.
    emptied: Condvar,
    /// Lines lost since the start.
    lost: AtomicU64,
}

/// The state that the logging threads share with the writing thread.
struct Waiting {
    bytes: Vec<u8>,
    /// Lines that found no room since the thread last took a batch.
    overflow: u64,
    /// Whether the thread sleeps until there are lines. Only then does a logging thread have to wake it.
    is_idle: bool,
    /// When the thread began to write its batch; `None`: it writes nothing.
    writes_since: Option<Instant>,
}

/// The lines that the thread takes at once.
struct Batch {
    bytes: Vec<u8>,
    overflow: u64,
}

impl Writer {
    pub(super) const fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                bytes: Vec::new(),
                overflow: 0,
                is_idle: false,
                writes_since: None,
            }),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            lost: AtomicU64::new(0),
        }
    }

    /// How many lines were lost since the start.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Takes a line of the program. It must end with a line break, and hold no other.
    pub(super) fn push(&self, line: &str) {
        self.push_within(line, MAX_WAITING_BYTES);
    }

    /// Takes a line that a library printed. It is lost earlier than a line of the program, if there is little room.
    #[cfg(unix)]
    pub(super) fn push_after_others(&self, line: &str) {
        self.push_within(line, MAX_WAITING_BYTES - KEPT_FOR_THE_LOG);
    }

    fn push_within(&self, line: &str, room: usize) {
        let mut waiting = self.waiting();
        if waiting.bytes.len() + line.len() > room {
            waiting.overflow += 1;
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.bytes.extend_from_slice(line.as_bytes());
        // A thread that is writing checks for more lines when it is done, so under load no line costs a wake-up.
        if std::mem::take(&mut waiting.is_idle) {
            drop(waiting);
            self.filled.notify_one();
        }
    }

    /// Waits until every line is written, at most for `limit`. Returns whether it is.
    pub(super) fn flush(&self, limit: Option<Duration>) -> bool {
        let is_busy = |waiting: &mut Waiting| waiting.writes_since.is_some() || !waiting.bytes.is_empty();
        let waiting = self.waiting();
        match limit {
            Some(limit) => {
                let waited = self.emptied.wait_timeout_while(waiting, limit, is_busy);
                !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
            }
            None => self.emptied.wait_while(waiting, is_busy).is_ok(),
        }
    }

    /// Whether a write is blocked because the reader of the log does not read.
    pub(super) fn is_stuck(&self) -> bool {
        let since = self.waiting().writes_since;
        since.is_some_and(|since| since.elapsed() > STUCK)
    }

    /// Writes lines for ever. The body of the log's thread.
    pub(super) fn run(&self, to: impl Write, style: Style) -> ! {
        let mut outlet = Outlet::new(to, style);
        loop {
            let batch = self.take();
            let lost = outlet.deliver(&batch);
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
    }

    /// Waits for lines, and takes all of them.
    fn take(&self) -> Batch {
        let mut waiting = self.waiting();
        waiting.writes_since = None;
        while waiting.bytes.is_empty() && waiting.overflow == 0 {
            self.emptied.notify_all();
            waiting.is_idle = true;
            waiting = self.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.is_idle = false;
        waiting.writes_since = Some(now());
        Batch {
            bytes: std::mem::take(&mut waiting.bytes),
            overflow: std::mem::take(&mut waiting.overflow),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes batches, and keeps track of what the reader of the log has not got.
struct Outlet<W> {
    to: W,
    style: Style,
    /// Lost lines that the log does not mention yet.
    unsaid: u64,
    /// Whether the last write ended in the middle of a line. The next one then begins a new line, so that no two lines
    /// are joined.
    is_within_line: bool,
}

impl<W: Write> Outlet<W> {
    fn new(to: W, style: Style) -> Self {
        Self {
            to,
            style,
            unsaid: 0,
            is_within_line: false,
        }
    }

    /// Writes a batch. Returns how many of its lines are lost because they could not be written.
    fn deliver(&mut self, batch: &Batch) -> u64 {
        // Lines lost earlier belong before this batch; lines that overflowed while it waited belong after it.
        let lost = if self.say_lost() {
            self.write(&batch.bytes)
        } else {
            lines_in(&batch.bytes)
        };
        self.unsaid += lost + batch.overflow;
        if lost == 0 {
            self.say_lost();
        }
        lost
    }

    /// Writes how many lines are lost, if any are. `false`: that line could not be written either, so the device is
    /// still unusable.
    fn say_lost(&mut self) -> bool {
        if self.unsaid == 0 {
            return true;
        }
        let is_said = self.write(self.style.lost(self.unsaid).as_bytes()) == 0;
        if is_said {
            self.unsaid = 0;
        }
        is_said
    }

    /// Writes lines. Returns how many of them could not be written completely.
    fn write(&mut self, lines: &[u8]) -> u64 {
        if self.is_within_line {
            match self.to.write_all(b"\n") {
                Ok(()) => self.is_within_line = false,
                Err(_) => return lines_in(lines),
            }
        }
        let mut rest = lines;
        while !rest.is_empty() {
            match self.to.write(rest) {
                Ok(0) => break,
                Ok(written) => {
                    self.is_within_line = rest[..written].last() != Some(&b'\n');
                    rest = &rest[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        lines_in(rest)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "only whether a write is stuck depends on it, and the writer is there before any clock"
)]
fn now() -> Instant {
    Instant::now()
}

/// Every line ends with a line break, so counting these counts lines.
fn lines_in(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Arc, thread};

    use super::*;
    use crate::settings::LogFormat;

    const STYLE: Style = Style::plain(LogFormat::Text);

    /// Takes a given number of bytes, then fails as a full device does.
    struct Device {
        takes: VecDeque<usize>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Device {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.takes.pop_front() {
                Some(0) => Err(io::ErrorKind::StorageFull.into()),
                takes => {
                    let takes = takes.unwrap_or(usize::MAX).min(bytes.len());
                    self.taken.lock().unwrap().extend_from_slice(&bytes[..takes]);
                    Ok(takes)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn outlet(portions: &[usize]) -> (Outlet<Device>, impl Fn() -> Vec<String>) {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let device = Device {
            takes: portions.iter().copied().collect(),
            taken: Arc::clone(&taken),
        };
        let lines = move || {
            let text = String::from_utf8(taken.lock().unwrap().clone()).unwrap();
            text.lines().map(str::to_owned).collect()
        };
        (Outlet::new(device, STYLE), lines)
    }

    fn batch(text: &str) -> Batch {
        Batch {
            bytes: text.into(),
            overflow: 0,
        }
    }

    #[test]
    fn lines_that_the_device_did_not_take_are_counted_and_told_of_before_the_next() {
        let (mut outlet, lines) = outlet(&[2, 0, 0]);
        assert_eq!(outlet.deliver(&batch("a\nlong\nc\n")), 2);
        assert_eq!(outlet.deliver(&batch("d\n")), 1, "the device is still full");
        assert_eq!(outlet.deliver(&batch("e\n")), 0);
        let lines = lines();
        assert_eq!([&lines[0], &lines[2]], ["a", "e"]);
        assert!(lines[1].contains("lost=3"), "{lines:?}");
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_run_into_the_next() {
        let (mut outlet, lines) = outlet(&[3, 0]);
        assert_eq!(outlet.deliver(&batch("long\n")), 1);
        assert_eq!(outlet.deliver(&batch("e\n")), 0);
        let lines = lines();
        assert_eq!([&lines[0], &lines[2]], ["lon", "e"]);
        assert!(lines[1].contains("lost=1"), "{lines:?}");
    }

    #[test]
    fn what_finds_no_room_is_told_of_after_what_waited() {
        let (mut outlet, lines) = outlet(&[]);
        outlet.deliver(&Batch {
            bytes: "a\nb\n".into(),
            overflow: 7,
        });
        let lines = lines();
        assert_eq!(lines[..2], ["a", "b"]);
        assert!(lines[2].contains("lost=7"), "{lines:?}");
    }

    /// How far a [`Stopped`] writer has come. The test waits for one step and starts the next.
    #[derive(Clone, Copy, PartialEq, PartialOrd)]
    enum Step {
        Untouched,
        WriteBegun,
        WritesGoOn,
    }

    struct Progress(Mutex<Step>, Condvar);

    impl Progress {
        fn reach(&self, step: Step) {
            let mut reached = self.0.lock().unwrap();
            if *reached < step {
                *reached = step;
            }
            self.1.notify_all();
        }

        fn wait_for(&self, step: Step) {
            drop(
                self.1
                    .wait_while(self.0.lock().unwrap(), |reached| *reached < step)
                    .unwrap(),
            );
        }
    }

    /// A writer that blocks until the test lets it continue.
    struct Stopped(Arc<Progress>, Device);

    impl Write for Stopped {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.reach(Step::WriteBegun);
            self.0.wait_for(Step::WritesGoOn);
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_that_has_stopped_and_it_hears_what_was_lost() {
        static WRITER: Writer = Writer::new();
        let progress = Arc::new(Progress(Mutex::new(Step::Untouched), Condvar::new()));
        let taken = Arc::default();
        let device = Device {
            takes: VecDeque::new(),
            taken: Arc::clone(&taken),
        };
        let to = Stopped(Arc::clone(&progress), device);
        thread::spawn(move || WRITER.run(to, STYLE));
        let line = "x".repeat(1023) + "\n";
        WRITER.push(&line);
        progress.wait_for(Step::WriteBegun);
        // The thread is writing the first line, and takes no other until the test lets it.
        for _ in 1..3000 {
            WRITER.push(&line);
        }
        let fit = 1 + u64::try_from(MAX_WAITING_BYTES / line.len()).unwrap();
        assert_eq!(WRITER.lost(), 3000 - fit);
        assert!(!WRITER.flush(Some(Duration::from_millis(1))));
        progress.reach(Step::WritesGoOn);
        assert!(WRITER.flush(None));
        let text = String::from_utf8(taken.lock().unwrap().clone()).unwrap();
        let notice = text.lines().last().unwrap();
        assert!(notice.contains(&format!("lost={}", 3000 - fit)), "{notice}");
        assert_eq!(u64::try_from(text.lines().count()).unwrap(), fit + 1);
    }
}
