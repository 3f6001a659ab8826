//! What ends a process, or makes it useless, and ways out of a sandbox.

use std::{
    fs::File,
    hint::black_box,
    io::{self, Read, Write},
    mem::ManuallyDrop,
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{FromRawFd, RawFd},
        raw::{c_int, c_long},
        unix::net::UnixStream,
    },
    process::Command,
    thread,
    time::Duration,
};

/// Does it, at once.
pub(crate) fn attack(name: &str) {
    match name {
        "abort" => std::process::abort(),
        "exit" => std::process::exit(3),
        // SAFETY: none. That is the point.
        "segfault" => unsafe { std::ptr::null_mut::<u8>().write_volatile(1) },
        "overflow" => drop(black_box(dig(0))),
        "spin" => loop {
            black_box(());
        },
        "block" => thread::sleep(Duration::from_secs(3600)),
        "allocate" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(black_box(vec![1_u8; 1 << 20]));
            }
        }
        "scribble" => scribble(),
        "flood" => (0..200_000).for_each(|line| println!("line {line} of a flood")),
        "flood-for-ever" => (0..u64::MAX).for_each(|line| println!("line {line} of a flood")),
        "" => {}
        other => panic!("{other} is no attack"),
    }
}

#[allow(unconditional_recursion, reason = "that is the attack")]
fn dig(depth: u64) -> u64 {
    let ballast = black_box([depth; 512]);
    dig(depth + 1) + ballast[usize::try_from(depth % 512).unwrap_or(0)]
}

/// A descriptor that belongs to somebody else.
fn foreign(number: RawFd) -> ManuallyDrop<File> {
    // SAFETY: none; it is not closed, at least.
    ManuallyDrop::new(unsafe { File::from_raw_fd(number) })
}

/// Writes nonsense into every descriptor that may be the socket to the host.
fn scribble() {
    write_everywhere(&[0xff; 64]);
    thread::sleep(Duration::from_secs(3600));
}

fn write_everywhere(bytes: &[u8]) {
    for number in 3..32 {
        let _ = foreign(number).write_all(bytes);
    }
}

/// A frame to the host, about no call, as the worker itself would write it.
fn forge(message: &[u8]) {
    let length = u32::try_from(8 + message.len()).unwrap_or(0);
    let id = 0_u64;
    write_everywhere(&[&length.to_le_bytes(), id.to_le_bytes().as_slice(), message].concat());
}

unsafe extern "C" {
    fn fork() -> c_int;
    fn _exit(code: c_int) -> !;
    fn kill(process: c_int, signal: c_int) -> c_int;
    fn fcntl(descriptor: c_int, command: c_int, argument: c_int) -> c_int;
    fn setpriority(which: c_int, who: u32, priority: c_int) -> c_int;
    fn prctl(option: c_int, argument: usize) -> c_int;
    fn syscall(number: c_long, domain: c_int, kind: c_int, protocol: c_int) -> c_long;
}

const F_SETOWN: c_int = 8;
const PR_SET_PDEATHSIG: c_int = 1;
/// `socket` in the second set of calls of an `x86_64` kernel.
const X32_SOCKET: c_long = 0x4000_0029;

fn number(text: &str) -> c_int {
    text.parse().unwrap_or(-1)
}

fn done(answer: impl Into<c_long>) -> io::Result<()> {
    if answer.into() < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Forks; the child does nothing but end.
fn bud() -> io::Result<()> {
    // SAFETY: no other thread can hold a lock that ending needs, for it needs none.
    unsafe {
        match fork() {
            0 => _exit(0),
            child => done(child),
        }
    }
}

/// Tries to get at something outside, and says how that went.
pub(crate) fn escape(way: &str) -> String {
    let (way, argument) = way.split_once(' ').unwrap_or((way, ""));
    let outcome = match way {
        "connect" => TcpStream::connect(argument).map(drop),
        "udp" => UdpSocket::bind("127.0.0.1:0").map(drop),
        "unix" => UnixStream::connect(argument).map(drop),
        "read" => File::open(argument).map(drop),
        "write" => File::create(argument).map(drop),
        "run" => Command::new(argument).status().map(drop),
        "fork" => bud(),
        "listen" => TcpListener::bind(argument).map(drop),
        "thread" => thread::Builder::new().spawn(|| ()).map(drop),
        "descriptor" => foreign(argument.parse().unwrap_or(-1)).read(&mut [0]).map(drop),
        // SAFETY: of all of these: they take numbers.
        "signal" => done(unsafe { kill(number(argument), 0) }),
        "owner" => done(unsafe { fcntl(1, F_SETOWN, number(argument)) }),
        "priority" => done(unsafe { setpriority(0, argument.parse().unwrap_or(0), 19) }),
        "outlive" => done(unsafe { prctl(PR_SET_PDEATHSIG, 0) }),
        "second-calls" => done(unsafe { syscall(X32_SOCKET, 2, 1, 0) }),
        "environment" => {
            let variables = std::env::vars().count();
            return format!("{variables} variables");
        }
        _ => return format!("{way} is no way out"),
    };
    match outcome {
        Ok(()) => "done".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// What the constructor of the file does; a test writes another word over it. An array, for it is to lie in the file
/// once, as it is.
#[used]
static FUSE: [u8; 16] = *b"constructor:calm";

#[used]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    match black_box(&FUSE) {
        b"constructor:boom" => std::process::abort(),
        // Fails where anything of this works.
        b"constructor:peek" => {
            for way in [
                "connect 127.0.0.1:80",
                "udp",
                "read /etc/hostname",
                "write /tmp/peek",
                "run /bin/true",
                "thread",
                "signal 1",
                "owner 1",
                "priority 1",
                "outlive",
                #[cfg(target_arch = "x86_64")]
                "second-calls",
            ] {
                assert!(
                    escape(way).contains("denied") || escape(way).contains("not permitted"),
                    "{way} works"
                );
            }
        }
        // Says once more that there is a sandbox, as if there were none.
        b"constructor:lies" => forge(&[0, 0, 0]),
        // Refuses to be opened, with a sentence that clears the terminal.
        b"constructor:mock" => {
            forge(b"\x02\x04P501\x08\x1b[2Jpwnd");
            thread::sleep(Duration::from_secs(3600));
        }
        b"constructor:spin" => loop {
            black_box(());
        },
        _ => {}
    }
}
