//! What ends a process, or makes it useless, and ways out of a sandbox.

use std::{
    fs::File,
    hint::black_box,
    io::{Read, Write},
    mem::ManuallyDrop,
    net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket},
    os::{
        fd::{FromRawFd, RawFd},
        unix::net::UnixStream,
    },
    process::Command,
    thread,
    time::Duration,
};

#[cfg(target_os = "linux")]
use crate::system;

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
        // Says that a call of no number was slow.
        "frames" => flood_with(&frame(&[8, 1])),
        // Asks for 4 KiB of randomness for the first backend, and reads none of it.
        "questions" => flood_with(&frame(&[6, 1, 1, 1, 0x80, 0x20])),
        // Says of each call that it stopped, as it was told to; the first few numbers are all that there are.
        "desert" => {
            let frames: Vec<u8> = (1..64).flat_map(|id| frame_about(id, &[4])).collect();
            write_everywhere(&frames);
            thread::sleep(Duration::from_secs(3600));
        }
        "flood" => (0..200_000).for_each(|line| println!("line {line} of a flood")),
        "flood-for-ever" => (0..u64::MAX).for_each(|line| println!("line {line} of a flood")),
        "wander" => std::env::set_current_dir("/").unwrap_or_default(),
        "babble" => println!("{{\"ok\": \"said by a library\"}}"),
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
fn frame(message: &[u8]) -> Vec<u8> {
    frame_about(0, message)
}

fn frame_about(id: u64, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(8 + message.len()).unwrap_or(0);
    [&length.to_le_bytes(), id.to_le_bytes().as_slice(), message].concat()
}

/// Says something to the host without end and as fast as it goes.
fn flood_with(frame: &[u8]) {
    let frames = frame.repeat(100_000);
    for number in 3..32 {
        // SAFETY: none; it is not closed, at least.
        let mut socket = ManuallyDrop::new(unsafe { UnixStream::from_raw_fd(number) });
        // Only a socket takes even nothing.
        while socket.write(&[]).is_ok() {
            let mut rest = frames.as_slice();
            while !rest.is_empty() {
                // A full one is tried again.
                rest = &rest[socket.write(rest).unwrap_or(0)..];
            }
        }
    }
}

/// Tries to get at something outside, and says how that went.
pub(crate) fn escape(way: &str) -> String {
    let (way, argument) = way.split_once(' ').unwrap_or((way, ""));
    let outcome = match way {
        "connect" => TcpStream::connect(argument).map(drop),
        "resolve" => (argument, 80).to_socket_addrs().map(drop),
        "udp" => UdpSocket::bind("127.0.0.1:0").map(drop),
        "unix" => UnixStream::connect(argument).map(drop),
        "read" => File::open(argument).map(drop),
        "write" => File::create(argument).map(drop),
        "run" => Command::new(argument).status().map(drop),
        "listen" => TcpListener::bind(argument).map(drop),
        "thread" => thread::Builder::new().spawn(|| ()).map(drop),
        "descriptor" => foreign(argument.parse().unwrap_or(-1)).read(&mut [0]).map(drop),
        "environment" => {
            let variables = std::env::vars().count();
            return format!("{variables} variables");
        }
        #[cfg(target_os = "linux")]
        other => system::attempt(other, argument),
        #[cfg(not(target_os = "linux"))]
        other => return format!("{other} is no way out"),
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
                "alarm",
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
        // Does what a library of the host's own process may do.
        b"constructor:work" => {
            let place = std::env::temp_dir().join(format!("villain-{}", std::process::id()));
            let path = place.display();
            for way in [
                "thread".to_owned(),
                "run /bin/true".to_owned(),
                format!("write {path}"),
            ] {
                if escape(&way) != "done" {
                    std::process::abort();
                }
            }
            let _ = std::fs::remove_file(place);
        }
        // Says once more that there is a sandbox, as if there were none.
        b"constructor:lies" => write_everywhere(&frame(&[0, 0, 0, 0, 0])),
        // Refuses to be opened, with a sentence that clears the terminal.
        b"constructor:mock" => {
            write_everywhere(&frame(b"\x02\x04P501\x08\x1b[2Jpwnd\x00"));
            thread::sleep(Duration::from_secs(3600));
        }
        b"constructor:spin" => loop {
            black_box(());
        },
        _ => {}
    }
}
