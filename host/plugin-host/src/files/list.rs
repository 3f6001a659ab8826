//! The access control list of a file: what it grants to users and groups besides the owner and the group of the file.
//!
//! systemd hands over credentials so: a file of root, with a list that lets one user read it. Such a list grants nothing
//! to others, and must not count as if it did.

use rustix::fd::OwnedFd;

use super::standing::Own;

/// What a list grants, each as the three bits of a mode: 4 to read, 2 to write, 1 to execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(any(target_os = "linux", target_os = "android")),
    allow(dead_code, reason = "the lists of other systems are not looked at")
)]
pub(super) struct List {
    /// To the group of the file. The bits of the group in the mode are the most that the list grants to anybody.
    pub(super) group: u32,
    /// To users other than root and this one, and to other groups.
    pub(super) others: u32,
}

impl List {
    /// One that cannot be read may grant anything.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const UNKNOWN: Self = Self {
        group: 0o7,
        others: 0o7,
    };

    /// That of an open file or folder; `None`: it has none.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn of(file: &OwnedFd, own: &Own) -> Option<Self> {
        use std::os::fd::AsRawFd;

        use rustix::io::Errno;

        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mut bytes = [0_u8; 1024];
        match rustix::fs::getxattr(path, "system.posix_acl_access", &mut bytes) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => None,
            Err(_) => Some(Self::UNKNOWN),
            Ok(length) => Some(Self::parse(&bytes[..length], own).unwrap_or(Self::UNKNOWN)),
        }
    }

    /// The lists of other systems are not looked at.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(super) fn of(_file: &OwnedFd, _own: &Own) -> Option<Self> {
        None
    }

    /// As `linux/posix_acl_xattr.h` has it: a version, then entries of tag, bits and number, all little-endian.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn parse(bytes: &[u8], own: &Own) -> Option<Self> {
        use super::standing::ROOT;

        const VERSION: [u8; 4] = 2_u32.to_le_bytes();
        const USER: u16 = 0x02;
        const OWN_GROUP: u16 = 0x04;
        const GROUP: u16 = 0x08;
        const MASK: u16 = 0x10;

        let (entries, []) = bytes.strip_prefix(&VERSION)?.as_chunks::<8>() else {
            return None;
        };
        let mut list = Self { group: 0, others: 0 };
        let mut mask = 0o7;
        for [tag_low, tag_high, bits, _, number @ ..] in entries {
            let (bits, number) = (u32::from(*bits), u32::from_le_bytes(*number));
            match u16::from_le_bytes([*tag_low, *tag_high]) {
                USER if number != ROOT && number != own.user => list.others |= bits,
                GROUP => list.others |= bits,
                OWN_GROUP => list.group = bits,
                MASK => mask = bits,
                _ => {}
            }
        }
        Some(Self {
            group: list.group & mask,
            others: list.others & mask,
        })
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    /// The bytes of a list, as the kernel gives them.
    fn bytes(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (tag, bits, number) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(bits.to_le_bytes());
            bytes.extend(number.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn a_list_grants_what_it_says_to_others_within_its_mask() {
        let own = Own::with_groups(1000, &[1000]);
        let none = u32::MAX;
        for (named, mask, group, others) in [
            // A credential of systemd: root's, and readable for the user of the service.
            ((0x02, 0o4, 1000), 0o4, 0, 0),
            ((0x02, 0o4, 0), 0o4, 0, 0),
            ((0x02, 0o4, 1001), 0o4, 0, 0o4),
            ((0x02, 0o6, 1001), 0o4, 0, 0o4),
            ((0x08, 0o6, 70), 0o7, 0, 0o6),
            ((0x04, 0o6, none), 0o4, 0o4, 0),
        ] {
            let list = bytes(&[(0x01, 0o6, none), named, (0x10, mask, none), (0x20, 0, none)]);
            assert_eq!(
                List::parse(&list, &own),
                Some(List { group, others }),
                "{named:?}"
            );
        }
        for broken in [&b""[..], &[3, 0, 0, 0], &[2, 0, 0, 0, 1]] {
            assert_eq!(List::parse(broken, &own), None);
        }
    }
}
