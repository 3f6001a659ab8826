//! Who can write or read one file or folder, by owner, mode and access control list.

use rustix::fs::{FileType, Stat};

use super::{
    Subject,
    fault::{Others, Problem},
    list::List,
};

pub(super) const ROOT: u32 = 0;
const WRITABLE_BY_GROUP: u32 = 0o020;
const WRITABLE_BY_ALL: u32 = 0o002;
const OPEN_TO_GROUP: u32 = 0o070;
const OPEN_TO_ALL: u32 = 0o007;
const STICKY: u32 = 0o1000;
/// Of the three bits of one class.
const WRITE: u32 = 0o2;

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

    #[cfg(test)]
    pub(super) fn with_groups(user: u32, groups: &[u32]) -> Self {
        let groups = groups.to_owned();
        Self { user, groups }
    }

    /// Whether all members of this group are this user: a group of their own, or that of a container's volume.
    fn is_alone_in(&self, group: u32) -> bool {
        if !self.groups.contains(&group) {
            return false;
        }
        if group == ROOT {
            // Of the users of a container that are numbered at random, all are in it, and nobody else.
            return self.user != ROOT;
        }
        others_in(group, self.user) == Company::Alone
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
    /// What its access control list grants; `None`: it has none that matters.
    pub(super) list: Option<List>,
}

impl Standing {
    /// `list` costs a system call, and is asked only where a list could let others do what `subject` forbids. The bits
    /// of the group are the most that a list grants (`acl(5)`): where they do not let it write, no list does.
    pub(super) fn of(stat: &Stat, subject: Subject, list: impl FnOnce() -> Option<List>) -> Self {
        let mode = mode_of(stat);
        let is_folder = FileType::from_raw_mode(stat.st_mode).is_dir();
        let may_matter = if is_folder || !subject.is_secret() {
            WRITABLE_BY_GROUP
        } else {
            OPEN_TO_GROUP
        };
        Self {
            owner: stat.st_uid,
            group: stat.st_gid,
            mode,
            is_folder,
            list: if mode & may_matter == 0 { None } else { list() },
        }
    }

    /// What its group may do: three bits of its mode.
    fn of_group(self) -> u32 {
        self.list
            .map_or((self.mode & OPEN_TO_GROUP) >> 3, |list| list.group)
    }

    /// What its list lets others do.
    fn of_others(self) -> u32 {
        self.list.map_or(0, |list| list.others)
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
        } else if self.of_others() & WRITE != 0 {
            Others::Listed
        } else if self.of_group() & WRITE == 0 || self.is_private_group() || own.is_alone_in(self.group) {
            return None;
        } else {
            Others::Group(self.group)
        };
        Some(Problem::Writable { by, mode })
    }

    /// Where each user has a group of their own, with the same number, that user is its only member (`pam_umask(8)`),
    /// unless an administrator added others. Members that cannot be seen, as of a directory service, are not assumed.
    fn is_private_group(self) -> bool {
        self.group == self.owner && self.owner != ROOT && others_in(self.group, self.owner) != Company::Others
    }

    /// Why somebody else can read it. As `PostgreSQL` has it: root's file may be readable for a group of the user.
    pub(super) fn readers(self, own: &Own) -> Option<Problem> {
        let is_root = self.owner == ROOT && own.user != ROOT;
        let problem = Some(Problem::Readable {
            mode: self.shown_mode(),
            is_root,
        });
        if self.mode & OPEN_TO_ALL != 0 || self.of_others() != 0 {
            return problem;
        }
        let is_roots = self.owner == ROOT && own.groups.contains(&self.group);
        let is_fine = self.of_group() == 0 || is_roots || own.is_alone_in(self.group);
        if is_fine { None } else { problem }
    }
}

/// Who is in a group besides root and one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "elsewhere it cannot be seen")
)]
enum Company {
    /// No other user.
    Alone,
    /// Other users are.
    Others,
    /// It cannot be seen: a directory service need not list the members of a group.
    Unknown,
}

/// Who is in a group besides root and `user`, as far as this machine tells.
#[cfg(target_os = "linux")]
fn others_in(group: u32, user: u32) -> Company {
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
    // Members of a group are listed there, or have it as the group that they log in with.
    let listed = Group::from_gid(Gid::from_raw(group));
    let is_other_listed = matches!(&listed, Ok(Some(known)) if known.mem.iter().any(|name| is_other(name)));
    let logs_in_with_it = |fields: &[&str]| {
        fields.get(3) == Some(&number.as_str())
            && fields
                .get(2)
                .and_then(|id| id.parse::<u32>().ok())
                .is_some_and(|id| id != user && id != ROOT)
    };
    if is_other_listed || by_files("/etc/passwd", &logs_in_with_it) {
        return Company::Others;
    }
    let is_local = || by_files("/etc/group", &|fields| fields.get(2) == Some(&number.as_str()));
    match listed {
        // No name for it: a container's volume gave it to this process alone.
        Ok(None) => Company::Alone,
        Ok(Some(_)) if is_local() => Company::Alone,
        Ok(Some(_)) | Err(_) => Company::Unknown,
    }
}

/// Other systems keep their users elsewhere.
#[cfg(not(target_os = "linux"))]
fn others_in(_group: u32, _user: u32) -> Company {
    Company::Unknown
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
            list: None,
        };
        match standing.writers(&own(1000, &[1000]))? {
            Problem::Writable { by, .. } => Some(by),
            problem => panic!("{problem:?}"),
        }
    }

    fn own(user: u32, groups: &[u32]) -> Own {
        Own::with_groups(user, groups)
    }

    fn is_strangers(owner: u32, mode: u32, is_folder: bool) -> bool {
        let standing = Standing {
            owner,
            group: owner,
            mode,
            is_folder,
            list: None,
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
        let listing = |others| Some(List { group: 0o7, others });
        let folder = |group, list| Standing {
            owner: 0,
            group,
            mode: 0o2775,
            is_folder: true,
            list,
        };
        let by = |standing: Standing, own: &Own| standing.writers(own).is_some();
        // A volume in Kubernetes: root's, and writable for the group that fsGroup gives to the process.
        let unlisted = 3_123_456_789;
        let pod = own(1000, &[1000, unlisted]);
        assert_eq!(by(folder(unlisted, None), &pod), cfg!(not(target_os = "linux")));
        assert!(by(folder(unlisted, listing(0o2)), &pod), "a list names others");
        assert_eq!(
            by(folder(unlisted, listing(0o5)), &pod),
            cfg!(not(target_os = "linux"))
        );
        assert!(by(folder(unlisted - 1, None), &pod), "not its own");
        // OpenShift numbers users at random, all in group 0.
        assert!(!by(folder(0, None), &own(1_000_670_000, &[0])));
        assert!(by(folder(0, None), &own(0, &[0])));
    }

    #[test]
    fn a_secret_is_its_owners_alone_or_roots_for_a_group_of_this_user() {
        let is_refused = |owner, group, mode, own: &Own| {
            let standing = Standing {
                owner,
                group,
                mode,
                is_folder: false,
                list: None,
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
