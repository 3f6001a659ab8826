//! Who can write or read one file or folder, by owner, mode and access control list.

use rustix::fs::{FileType, Stat};

use super::fault::{Others, Problem};

pub(super) const ROOT: u32 = 0;
const WRITABLE_BY_GROUP: u32 = 0o020;
const WRITABLE_BY_ALL: u32 = 0o002;
const OPEN_TO_GROUP: u32 = 0o070;
const OPEN_TO_ALL: u32 = 0o007;
const STICKY: u32 = 0o1000;

/// Who runs this program.
pub(super) struct Own {
    pub(super) user: u32,
    groups: Vec<u32>,
}

impl Own {
    pub(super) fn now() -> Self {
        let mut groups = rustix::process::getgroups().unwrap_or_default();
        groups.push(rustix::process::getegid());
        Self {
            user: rustix::process::geteuid().as_raw(),
            groups: groups.iter().map(|group| group.as_raw()).collect(),
        }
    }

    /// Whether everybody in this group is this user: a group of his own, or that of a container's volume.
    fn is_alone_in(&self, group: u32) -> bool {
        if !self.groups.contains(&group) {
            return false;
        }
        if group == ROOT {
            // Of the users of a container that are numbered at random, all are in it, and nobody else.
            return self.user != ROOT;
        }
        lone_group(group, self.user)
    }
}

#[allow(clippy::useless_conversion, reason = "it is shorter on other systems")]
pub(super) fn mode_of(stat: &Stat) -> u32 {
    u32::from(stat.st_mode)
}

/// What owner, mode and access control list say.
#[derive(Clone, Copy)]
pub(super) struct Standing {
    pub(super) owner: u32,
    pub(super) group: u32,
    pub(super) mode: u32,
    pub(super) is_folder: bool,
    /// Whether an access control list names more than owner and group.
    pub(super) is_listed: bool,
}

impl Standing {
    /// `is_listed` is asked only if the mode says that there may be a list.
    pub(super) fn of(stat: &Stat, is_listed: impl FnOnce() -> bool) -> Self {
        let mode = mode_of(stat);
        Self {
            owner: stat.st_uid,
            group: stat.st_gid,
            mode,
            is_folder: FileType::from_raw_mode(stat.st_mode).is_dir(),
            // With a list, the bits of the group say what the list gives at most.
            is_listed: mode & OPEN_TO_GROUP != 0 && is_listed(),
        }
    }

    fn shown_mode(self) -> u32 {
        self.mode & 0o7777
    }

    /// Why somebody else can have written it.
    pub(super) fn writers(self, own: &Own) -> Option<Problem> {
        let mode = self.shown_mode();
        if self.owner != ROOT && self.owner != own.user {
            return Some(Problem::Owner {
                owner: self.owner,
                own: own.user,
                mode,
            });
        }
        // In a sticky folder everybody can add files, but only the owner of one can exchange it.
        if self.is_folder && self.mode & STICKY != 0 {
            return None;
        }
        let by = if self.mode & WRITABLE_BY_ALL != 0 {
            Others::All
        } else if self.mode & WRITABLE_BY_GROUP == 0 {
            return None;
        } else if self.is_listed {
            Others::Listed
        } else if self.is_private_group() || own.is_alone_in(self.group) {
            return None;
        } else {
            Others::Group(self.group)
        };
        Some(Problem::Writable { by, mode })
    }

    /// Where each user has a group of his own, with the same number, its members are that user: `pam_umask(8)`.
    fn is_private_group(self) -> bool {
        self.group == self.owner && self.owner != ROOT
    }

    /// Why somebody else can read it. As `PostgreSQL` has it: root's file may be readable for a group of the user.
    pub(super) fn readers(self, own: &Own) -> Option<Problem> {
        let is_root = self.owner == ROOT && own.user != ROOT;
        let problem = Some(Problem::Readable {
            mode: self.shown_mode(),
            is_root,
        });
        if self.mode & OPEN_TO_ALL != 0 || self.is_listed {
            return problem;
        }
        let is_roots = self.owner == ROOT && own.groups.contains(&self.group);
        let is_fine = self.mode & OPEN_TO_GROUP == 0 || is_roots || own.is_alone_in(self.group);
        if is_fine { None } else { problem }
    }
}

/// Whether no user but root and `user` is in a group, as far as this machine's own files tell.
#[cfg(target_os = "linux")]
fn lone_group(group: u32, user: u32) -> bool {
    use nix::unistd::{Gid, Group, Uid, User};

    let is_other = |name: &str| {
        let id = User::from_name(name).ok().flatten().map(|user| user.uid);
        id.is_some_and(|id| id != Uid::from_raw(user) && !id.is_root())
    };
    let by_files = |file: &str, find: &dyn Fn(&[&str]) -> bool| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines()
            .any(|line| find(&line.split(':').collect::<Vec<_>>()))
    };
    let number = group.to_string();
    let is_local = by_files("/etc/group", &|fields| fields.get(2) == Some(&number.as_str()));
    match Group::from_gid(Gid::from_raw(group)) {
        // Nobody is listed for it: it was given to this process alone.
        Ok(None) => {}
        // That of a directory service: who else has it cannot be seen.
        Ok(Some(known)) if is_local && !known.mem.iter().any(|name| is_other(name)) => {}
        Ok(Some(_)) | Err(_) => return false,
    }
    !by_files("/etc/passwd", &|fields| {
        fields.get(3) == Some(&number.as_str())
            && fields
                .get(2)
                .and_then(|id| id.parse::<u32>().ok())
                .is_some_and(|id| id != user && id != ROOT)
    })
}

/// Other systems keep their users elsewhere.
#[cfg(not(target_os = "linux"))]
fn lone_group(_group: u32, _user: u32) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writers(owner: u32, group: u32, mode: u32, is_folder: bool) -> Option<Others> {
        let standing = Standing {
            owner,
            group,
            mode,
            is_folder,
            is_listed: false,
        };
        match standing.writers(&own(1000, &[1000]))? {
            Problem::Writable { by, .. } => Some(by),
            problem => panic!("{problem:?}"),
        }
    }

    fn own(user: u32, groups: &[u32]) -> Own {
        Own {
            user,
            groups: groups.to_owned(),
        }
    }

    fn is_strangers(owner: u32, mode: u32, is_folder: bool) -> bool {
        let standing = Standing {
            owner,
            group: owner,
            mode,
            is_folder,
            is_listed: false,
        };
        matches!(
            standing.writers(&own(1000, &[1000])),
            Some(Problem::Owner { owner: found, .. }) if found == owner
        )
    }

    #[test]
    fn only_root_and_the_own_user_may_have_written_it() {
        assert_eq!(writers(0, 0, 0o755, false), None);
        assert_eq!(writers(1000, 100, 0o755, false), None);
        assert!(is_strangers(1001, 0o755, false));
        assert!(is_strangers(1001, 0o1777, true));
        assert_eq!(writers(1000, 100, 0o775, false), Some(Others::Group(100)));
        assert_eq!(writers(0, 0, 0o775, true), Some(Others::Group(0)));
        assert_eq!(writers(0, 0, 0o777, true), Some(Others::All));
        assert_eq!(writers(0, 0, 0o1777, true), None, "as /tmp");
        assert_eq!(writers(0, 0, 0o1777, false), Some(Others::All), "no folder");
        assert_eq!(writers(1000, 1000, 0o775, true), None, "a group of his own");
        assert_eq!(writers(1000, 1000, 0o757, true), Some(Others::All));
    }

    #[test]
    fn a_group_that_only_this_process_has_is_nobody_else() {
        let folder = |group, is_listed| Standing {
            owner: 0,
            group,
            mode: 0o2775,
            is_folder: true,
            is_listed,
        };
        let by = |standing: Standing, own: &Own| standing.writers(own).is_some();
        // A volume in Kubernetes: root's, and writable for the group that fsGroup gives to the process.
        let unlisted = 3_123_456_789;
        let pod = own(1000, &[1000, unlisted]);
        assert_eq!(by(folder(unlisted, false), &pod), cfg!(not(target_os = "linux")));
        assert!(by(folder(unlisted, true), &pod), "a list names others");
        assert!(by(folder(unlisted - 1, false), &pod), "not its own");
        // OpenShift numbers users at random, all in group 0.
        assert!(!by(folder(0, false), &own(1_000_670_000, &[0])));
        assert!(by(folder(0, false), &own(0, &[0])));
    }

    #[test]
    fn a_secret_is_its_owners_alone_or_roots_for_a_group_of_this_user() {
        let is_refused = |owner, group, mode, own: &Own| {
            let standing = Standing {
                owner,
                group,
                mode,
                is_folder: false,
                is_listed: false,
            };
            standing.readers(own).is_some()
        };
        let daemon = own(1000, &[1000, 70]);
        assert!(!is_refused(1000, 70, 0o600, &daemon));
        assert!(!is_refused(1000, 70, 0o400, &daemon));
        for mode in [0o640, 0o440] {
            assert!(!is_refused(0, 70, mode, &daemon), "root's, for its group");
            assert!(is_refused(0, 71, mode, &daemon), "for another group");
        }
        for mode in [0o644, 0o604, 0o444] {
            assert!(is_refused(0, 70, mode, &daemon));
            assert!(is_refused(1000, 1000, mode, &daemon));
        }
    }
}
