//! A pair of sockets, and a pipe for what the worker prints; all of them are waited for with `poll`.

use std::{
    io::{self, PipeReader, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;

use super::Ready;

const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// The host's end.
pub(in super::super) struct Channel {
    stream: UnixStream,
    /// What [`Channel::ring`] writes to, and where that is heard.
    bell: UnixStream,
    heard: UnixStream,
}

impl Channel {
    /// With the end that the worker gets as its standard input.
    pub(in super::super) fn new() -> io::Result<(Self, OwnedFd)> {
        let (stream, theirs) = UnixStream::pair()?;
        let (bell, heard) = UnixStream::pair()?;
        for ours in [&stream, &bell, &heard] {
            ours.set_nonblocking(true)?;
        }
        Ok((Self { stream, bell, heard }, theirs.into()))
    }

    /// As much as the worker takes now.
    pub(in super::super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        (&self.stream).write(bytes)
    }

    /// Ends a wait.
    pub(in super::super) fn ring(&self) {
        // A full bell rings already.
        let _ = (&self.bell).write(&[1]);
    }

    /// Waits for the worker, for what it prints, or for a ring. `is_unsent`: also for it to take more.
    pub(in super::super) fn wait(
        &self,
        is_unsent: bool,
        printed: Option<&Printed>,
        at_most: Option<Duration>,
    ) -> Ready {
        let what = if is_unsent {
            PollFlags::IN | PollFlags::OUT
        } else {
            PollFlags::IN
        };
        let mut ready = vec![
            PollFd::from_borrowed_fd(self.stream.as_fd(), what),
            PollFd::new(&self.heard, PollFlags::IN),
        ];
        ready.extend(printed.map(|printed| PollFd::new(&printed.0, PollFlags::IN)));
        if poll(&mut ready, at_most.map(timespec).as_ref()).is_err() {
            return Ready::default();
        }
        let is_ready = |at: usize| ready.get(at).is_some_and(|fd| !fd.revents().is_empty());
        if is_ready(1) {
            let mut rings = [0; 64];
            while matches!((&self.heard).read(&mut rings), Ok(1..)) {}
        }
        Ready {
            channel: is_ready(0),
            printed: is_ready(2),
        }
    }
}

impl Read for &Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.stream).read(buffer)
    }
}

/// What a worker prints.
pub(in super::super) struct Printed(PipeReader);

impl Printed {
    pub(in super::super) fn new(pipe: PipeReader) -> Self {
        Self(pipe)
    }

    /// What is there now; `None`: nothing. 0 is the end.
    pub(in super::super) fn read_now(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let mut ready = [PollFd::new(&self.0, PollFlags::IN)];
        match poll(&mut ready, Some(&AT_ONCE)) {
            Ok(1..) => Some(self.0.read(buffer).unwrap_or(0)),
            _ => None,
        }
    }

    /// Waits for what a process printed that is gone: a pipe holds all of it already.
    #[allow(clippy::unused_self, reason = "elsewhere it waits")]
    pub(in super::super) fn settle(&self) {}
}

/// The worker's end.
pub(in super::super) struct Inherited(UnixStream);

impl Inherited {
    /// The socket, which comes as standard input, where the library then finds nothing. All else that is open but the
    /// three streams is closed.
    pub(in super::super) fn take() -> io::Result<Self> {
        close_inherited();
        let stdin = io::stdin();
        let stat = rustix::fs::fstat(stdin.as_fd())?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_socket() {
            return Err(io::Error::other("the standard input is not its socket"));
        }
        let socket: OwnedFd = stdin.as_fd().try_clone_to_owned()?;
        // Not /dev/null, which not every system has.
        let (nothing, _) = io::pipe()?;
        rustix::stdio::dup2_stdin(nothing)?;
        let stream = UnixStream::from(socket);
        stream.set_nonblocking(true)?;
        Ok(Self(stream))
    }

    /// Writes all of it; waits while the host is busy.
    pub(in super::super) fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match (&self.0).write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait_for(PollFlags::OUT, None);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for something to read.
    pub(in super::super) fn wait(&self, at_most: Option<Duration>) {
        self.wait_for(PollFlags::IN, at_most);
    }

    fn wait_for(&self, what: PollFlags, at_most: Option<Duration>) {
        // Interrupted or not: the caller tries again.
        let mut ready = [PollFd::from_borrowed_fd(self.0.as_fd(), what)];
        let _ = poll(&mut ready, at_most.map(timespec).as_ref());
    }

    /// Whether the host has ended.
    pub(in super::super) fn is_gone(&self) -> bool {
        let mut ends = [PollFd::new(&self.0, PollFlags::empty())];
        matches!(poll(&mut ends, Some(&AT_ONCE)), Ok(1..))
            && ends[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }

    /// For a task that waits for something to read.
    pub(in super::super) fn readable(&self) -> io::Result<Readable> {
        tokio::net::UnixStream::from_std(self.0.try_clone()?).map(Readable)
    }
}

impl Read for &Inherited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }
}

/// Only waits: somebody else reads.
pub(in super::super) struct Readable(tokio::net::UnixStream);

impl Readable {
    pub(in super::super) async fn changed(&self) -> io::Result<()> {
        self.0.readable().await?;
        let all_is_read = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        let _ = self.0.try_io(Interest::READABLE, all_is_read);
        Ok(())
    }
}

/// Closes what is open besides the three streams. The daemon passes nothing on, but whoever started the daemon may have
/// left it something that it does not know of.
fn close_inherited() {
    let list = std::fs::read_dir("/proc/self/fd").or_else(|_| std::fs::read_dir("/dev/fd"));
    let open: Vec<i32> = match list {
        Ok(list) => list
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect(),
        Err(_) => (0..1024).collect(),
    };
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // The one by which the list was read is closed already.
        let _ = nix::unistd::close(descriptor);
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
