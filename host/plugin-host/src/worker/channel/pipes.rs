//! Two pipes, and a third for what the worker prints. A thread reads each of those that come in, and one writes: what
//! waits for several of them waits for their [`Bell`].
//!
//! Invariant: no more than [`ROOM_BYTES`] lie in either direction; whoever would add to it waits in the thread of that
//! pipe.

use std::{
    collections::VecDeque,
    io::{self, PipeReader, PipeWriter, Read, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use super::Ready;

/// As much as a pipe holds elsewhere.
const ROOM_BYTES: usize = 64 << 10;
/// How long what a process printed may take to come when the process is gone.
const LAST_LINES: Duration = Duration::from_millis(200);

/// What one waits for.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    rings: Condvar,
    /// The same for tasks.
    task: tokio::sync::Notify,
}

impl Bell {
    fn ring(&self) {
        *lock(&self.rung) = true;
        self.rings.notify_all();
        self.task.notify_one();
    }

    /// May end early.
    fn wait(&self, at_most: Option<Duration>) {
        let mut rung = lock(&self.rung);
        if !*rung {
            rung = match at_most {
                Some(limit) => {
                    let waited = self.rings.wait_timeout(rung, limit);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.rings.wait(rung).unwrap_or_else(PoisonError::into_inner),
            };
        }
        *rung = false;
    }
}

/// What lies between a pipe's thread and who reads or writes here.
struct Buffer {
    state: Mutex<Held>,
    /// Something was added, taken out, or has ended.
    changed: Condvar,
    bell: Arc<Bell>,
}

#[derive(Default)]
struct Held {
    bytes: VecDeque<u8>,
    /// Nothing comes any more, or nothing is wanted.
    has_ended: bool,
}

impl Buffer {
    fn new(bell: &Arc<Bell>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            bell: Arc::clone(bell),
        })
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    fn end(&self) {
        self.change(|held| held.has_ended = true);
    }

    fn wait_while(&self, condition: impl Fn(&Held) -> bool) -> MutexGuard<'_, Held> {
        let held = lock(&self.state);
        let waited = self.changed.wait_while(held, |held| condition(held));
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a read would say something.
    fn is_ready(&self) -> bool {
        let held = lock(&self.state);
        held.has_ended || !held.bytes.is_empty()
    }

    /// Reads what is there.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut held = lock(&self.state);
        if held.bytes.is_empty() && !held.has_ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = held.bytes.read(buffer);
        drop(held);
        self.changed.notify_all();
        read
    }

    /// Takes what there is room for.
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut held = lock(&self.state);
        if held.has_ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(ROOM_BYTES.saturating_sub(held.bytes.len()));
        if taken == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        held.bytes.extend(&bytes[..taken]);
        drop(held);
        self.changed.notify_all();
        Ok(taken)
    }

    /// Has a thread read the pipe to its end.
    fn fill_from(self: &Arc<Self>, mut pipe: PipeReader) -> io::Result<()> {
        let this = Arc::clone(self);
        named("worker-in").spawn(move || {
            let mut bytes = [0; 8 << 10];
            while let Ok(read @ 1..) = pipe.read(&mut bytes) {
                let mut held = this.wait_while(|held| held.bytes.len() >= ROOM_BYTES && !held.has_ended);
                if held.has_ended {
                    break;
                }
                held.bytes.extend(&bytes[..read]);
                drop(held);
                this.changed.notify_all();
                this.bell.ring();
            }
            this.end();
            this.bell.ring();
        })?;
        Ok(())
    }

    /// Has a thread write what is put in, until there is nothing more to come.
    fn empty_into(self: &Arc<Self>, mut pipe: PipeWriter) -> io::Result<()> {
        let this = Arc::clone(self);
        named("worker-out").spawn(move || {
            loop {
                let mut held = this.wait_while(|held| held.bytes.is_empty() && !held.has_ended);
                let bytes: Vec<u8> = held.bytes.drain(..).collect();
                drop(held);
                if bytes.is_empty() || pipe.write_all(&bytes).is_err() {
                    break;
                }
                this.bell.ring();
            }
            this.end();
        })?;
        Ok(())
    }
}

/// The host's end.
pub(in super::super) struct Channel {
    incoming: Arc<Buffer>,
    outgoing: Arc<Buffer>,
    bell: Arc<Bell>,
}

impl Channel {
    pub(in super::super) fn new(from: PipeReader, to: PipeWriter) -> io::Result<Self> {
        let bell = Arc::<Bell>::default();
        let channel = Self {
            incoming: Buffer::new(&bell),
            outgoing: Buffer::new(&bell),
            bell,
        };
        channel.incoming.fill_from(from)?;
        channel.outgoing.empty_into(to)?;
        Ok(channel)
    }

    /// What the worker prints through a third pipe, waited for together with this one.
    pub(in super::super) fn printed(&self, pipe: PipeReader) -> io::Result<Printed> {
        let buffer = Buffer::new(&self.bell);
        buffer.fill_from(pipe)?;
        Ok(Printed(buffer))
    }

    /// As much as there is room for.
    pub(in super::super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.write(bytes)
    }

    /// Ends a wait.
    pub(in super::super) fn ring(&self) {
        self.bell.ring();
    }

    /// Waits for the worker, for what it prints, or for a ring; room for more rings too.
    pub(in super::super) fn wait(
        &self,
        _is_unsent: bool,
        printed: Option<&Printed>,
        at_most: Option<Duration>,
    ) -> Ready {
        let ready = || Ready {
            channel: self.incoming.is_ready(),
            printed: printed.is_some_and(|printed| printed.0.is_ready()),
        };
        let now = ready();
        if now.channel || now.printed {
            return now;
        }
        self.bell.wait(at_most);
        ready()
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.incoming.end();
        self.outgoing.end();
    }
}

impl Read for &Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.incoming.read(buffer)
    }
}

/// What a worker prints.
pub(in super::super) struct Printed(Arc<Buffer>);

impl Printed {
    /// What is there now; `None`: nothing. 0 is the end.
    pub(in super::super) fn read_now(&mut self, buffer: &mut [u8]) -> Option<usize> {
        self.0.read(buffer).ok()
    }

    /// Waits for what a process printed that is gone: its thread may not have read it yet.
    pub(in super::super) fn settle(&self) {
        let held = lock(&self.0.state);
        let is_open = |held: &mut Held| !held.has_ended && held.bytes.len() < ROOM_BYTES;
        drop(self.0.changed.wait_timeout_while(held, LAST_LINES, is_open));
    }
}

impl Drop for Printed {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The worker's end.
pub(in super::super) struct Inherited {
    incoming: Arc<Buffer>,
    outgoing: Mutex<PipeWriter>,
}

impl Inherited {
    pub(in super::super) fn new(from: PipeReader, to: PipeWriter) -> io::Result<Self> {
        let incoming = Buffer::new(&Arc::default());
        incoming.fill_from(from)?;
        Ok(Self {
            incoming,
            outgoing: Mutex::new(to),
        })
    }

    /// The pipes whose handles are named by the arguments.
    #[cfg(windows)]
    pub(in super::super) fn take() -> io::Result<Self> {
        let (from, to) = super::super::process::inherited()?;
        Self::new(from, to)
    }

    /// Writes all of it; waits while the host is busy.
    pub(in super::super) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        lock(&self.outgoing).write_all(bytes)
    }

    /// Waits for something to read; may end early.
    pub(in super::super) fn wait(&self, at_most: Option<Duration>) {
        if !self.incoming.is_ready() {
            self.incoming.bell.wait(at_most);
        }
    }

    /// Whether the host has ended.
    pub(in super::super) fn is_gone(&self) -> bool {
        lock(&self.incoming.state).has_ended
    }

    /// For a task that waits for something to read.
    #[allow(clippy::unnecessary_wraps, reason = "it can fail where there are sockets")]
    pub(in super::super) fn readable(&self) -> io::Result<Readable> {
        Ok(Readable(Arc::clone(&self.incoming.bell)))
    }
}

impl Read for &Inherited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.incoming.read(buffer)
    }
}

/// Only waits: somebody else reads.
pub(in super::super) struct Readable(Arc<Bell>);

impl Readable {
    #[allow(clippy::unnecessary_wraps, reason = "it can fail where there are sockets")]
    pub(in super::super) async fn changed(&self) -> io::Result<()> {
        self.0.task.notified().await;
        Ok(())
    }
}

fn named(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends, as a host and a worker have them.
    #[allow(clippy::unwrap_used, reason = "for tests")]
    fn connected() -> (Channel, Inherited, Printed, PipeWriter) {
        let (to_worker, from_host) = {
            let (reader, writer) = io::pipe().unwrap();
            (writer, reader)
        };
        let (from_worker, to_host) = io::pipe().unwrap();
        let (printed, prints) = io::pipe().unwrap();
        let host = Channel::new(from_worker, to_worker).unwrap();
        let printed = host.printed(printed).unwrap();
        (host, Inherited::new(from_host, to_host).unwrap(), printed, prints)
    }

    /// What comes until there are so many bytes, or the end.
    fn read_all(mut from: impl Read, wait: impl Fn(), bytes: usize) -> Vec<u8> {
        let mut read = Vec::new();
        let mut piece = [0; 1000];
        while read.len() < bytes {
            match from.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => read.extend(&piece[..length]),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    wait();
                }
            }
        }
        read
    }

    #[test]
    fn what_either_end_writes_comes_at_the_other_whatever_its_size() {
        let (host, worker, _printed, _prints) = connected();
        let sent: Vec<u8> = (0..=u8::MAX).cycle().take(5 * ROOM_BYTES).collect();
        thread::scope(|scope| {
            let echo = scope.spawn(|| {
                let heard = read_all(&worker, || worker.wait(None), sent.len());
                worker.write(&heard).is_ok()
            });
            let mut rest = &sent[..];
            while !rest.is_empty() {
                match host.write(rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(_) => {
                        host.wait(true, None, None);
                    }
                }
            }
            let back = read_all(
                &host,
                || {
                    host.wait(false, None, None);
                },
                sent.len(),
            );
            assert!(back == sent);
            assert!(echo.join().is_ok_and(|written| written));
        });
    }

    #[test]
    fn a_ring_what_is_printed_and_the_end_of_the_other_each_end_a_wait() {
        let (host, worker, mut printed, mut prints) = connected();
        host.ring();
        let ready = host.wait(false, Some(&printed), None);
        assert!(!ready.channel && !ready.printed);

        prints.write_all(b"a line").unwrap();
        while !host.wait(false, Some(&printed), None).printed {}
        let mut line = [0; 100];
        assert_eq!(printed.read_now(&mut line), Some(6));
        assert_eq!(printed.read_now(&mut line), None);
        drop(prints);
        printed.settle();
        assert_eq!(printed.read_now(&mut line), Some(0));

        assert!(!worker.is_gone());
        // A process that ends closes both.
        drop(host);
        while !worker.is_gone() {
            worker.wait(None);
        }
    }
}
