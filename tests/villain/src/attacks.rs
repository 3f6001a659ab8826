//! What ends a process, or makes it useless, and ways out of a sandbox.

use std::{
    fs::File,
    hint::black_box,
    io::Write,
    net::{TcpStream, UdpSocket},
    os::{fd::FromRawFd, unix::net::UnixStream},
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
        "flood" => {
            for line in 0..200_000 {
                println!("line {line} of a flood");
            }
        }
        "" => {}
        other => panic!("{other} is no attack"),
    }
}

#[allow(unconditional_recursion, reason = "that is the attack")]
fn dig(depth: u64) -> u64 {
    let ballast = black_box([depth; 512]);
    dig(depth + 1) + ballast[usize::try_from(depth % 512).unwrap_or(0)]
}

/// Writes nonsense into every descriptor that may be the socket to the host.
fn scribble() {
    for number in 3..32 {
        // SAFETY: none: these belong to somebody else.
        let mut descriptor = unsafe { File::from_raw_fd(number) };
        let _ = descriptor.write_all(&[0xff; 64]);
        std::mem::forget(descriptor);
    }
    thread::sleep(Duration::from_secs(3600));
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
        "thread" => thread::Builder::new().spawn(|| ()).map(drop),
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
            ] {
                assert!(
                    escape(way).contains("denied") || escape(way).contains("not permitted"),
                    "{way} works"
                );
            }
        }
        b"constructor:spin" => loop {
            black_box(());
        },
        _ => {}
    }
}
