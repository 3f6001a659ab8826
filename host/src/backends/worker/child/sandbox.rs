//! What a worker process takes away from itself before a library's code runs in it.
//!
//! Two phases. Before the library is opened, because its constructors run while it is: limits, no files but those that
//! opening needs, no network, no processes or threads. After: an allow-list of the few system calls that computing,
//! waiting and the socket to the host take. What is denied fails with EPERM instead of a kill, so that the library's
//! own error says what was refused.
//!
//! Invariant: everything taken away stays away; and what this system cannot take away is told, once, to the host.

use std::path::Path;

/// Address space of a worker.
const MEMORY_BYTES: u64 = 512 << 20;
/// Descriptors: three streams, the socket, the runtime's few, and what opening a library takes.
const DESCRIPTORS: u64 = 32;

/// What is in force.
#[derive(Default)]
pub(super) struct Sandbox {
    /// Whether nothing in the process can reach a network by itself.
    pub(super) is_sealed: bool,
    /// What this system does not offer.
    pub(super) lacking: Vec<String>,
}

impl Sandbox {
    /// The first phase. Of the file system, what is left is the directories of the system's libraries, and `library`.
    pub(super) fn before_opening(library: &Path) -> Self {
        let mut sandbox = Self::default();
        sandbox.limit_resources();
        #[cfg(target_os = "linux")]
        sandbox.deny(library);
        #[cfg(not(target_os = "linux"))]
        {
            let _ = library;
            sandbox.lacking.push("any sandbox but resource limits".to_owned());
        }
        sandbox
    }

    /// The second phase.
    pub(super) fn after_opening(&mut self) {
        #[cfg(target_os = "linux")]
        if self.is_sealed
            && let Err(why) = seccomp::allow_little()
        {
            self.lacking.push(why);
        }
    }

    fn limit_resources(&mut self) {
        use rustix::process::{Resource, Rlimit, setrlimit};

        let limits = [
            (Resource::As, MEMORY_BYTES, "memory"),
            (Resource::Nofile, DESCRIPTORS, "descriptors"),
            (Resource::Core, 0, "core dumps"),
            (Resource::Fsize, 0, "file sizes"),
            (Resource::Nproc, 0, "processes"),
        ];
        for (resource, most, what) in limits {
            let limit = Rlimit {
                current: Some(most),
                maximum: Some(most),
            };
            if setrlimit(resource, limit).is_err() {
                self.lacking.push(format!("a limit of {what}"));
            }
        }
    }

    #[cfg(target_os = "linux")]
    fn deny(&mut self, library: &Path) {
        use rustix::process::{
            DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal,
        };

        // A library that loops for ever must not outlive the host.
        if set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
            self.lacking.push("an end together with its parent".to_owned());
        }
        // The options hold secrets: no other process of this user may look into this one.
        if set_dumpable_behavior(DumpableBehavior::NotDumpable).is_err() {
            self.lacking.push("memory that others cannot read".to_owned());
        }
        if let Err(why) = landlock::leave_only(library) {
            self.lacking.push(why);
        }
        match seccomp::deny_much() {
            Ok(()) => self.is_sealed = true,
            Err(why) => self.lacking.push(why),
        }
    }
}

/// Files.
#[cfg(target_os = "linux")]
mod landlock {
    use std::path::{Path, PathBuf};

    use landlock::{
        ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
        RulesetStatus, Scope, path_beneath_rules,
    };

    /// The newest generation of Landlock whose rights are used; older kernels enforce those that they know.
    const GENERATION: ABI = ABI::V6;
    /// Where the system's libraries lie, and how the dynamic linker finds them. Those that are missing are skipped.
    const SYSTEM: [&str; 8] = [
        "/lib",
        "/lib64",
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
        "/etc/ld.so.cache",
        "/nix/store",
        "/gnu/store",
    ];

    /// The error says what the kernel lacks.
    pub(super) fn leave_only(library: &Path) -> Result<(), String> {
        let lacks = |what: &str| format!("Landlock, which keeps a library away from files ({what})");
        match restrict(library) {
            Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => Ok(()),
            Ok(RulesetStatus::NotEnforced) => Err(lacks("the kernel does not offer it")),
            Err(error) => Err(lacks(&error.to_string())),
        }
    }

    fn restrict(library: &Path) -> Result<RulesetStatus, RulesetError> {
        let readable: Vec<PathBuf> = SYSTEM
            .iter()
            .map(PathBuf::from)
            .chain([library.to_owned()])
            .collect();
        let status = Ruleset::default()
            .handle_access(AccessFs::from_all(GENERATION))?
            .handle_access(AccessNet::from_all(GENERATION))?
            .scope(Scope::from_all(GENERATION))?
            .create()?
            .add_rules(path_beneath_rules(readable, AccessFs::from_read(GENERATION)))?
            .restrict_self()?;
        Ok(status.ruleset)
    }
}

/// System calls.
#[cfg(target_os = "linux")]
mod seccomp {
    use std::collections::BTreeMap;

    use libc::{self as sys, c_long};
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch, apply_filter,
    };

    type Rules = BTreeMap<i64, Vec<SeccompRule>>;

    /// Refused from the beginning: the network, processes and threads, other processes, the system's settings, what
    /// Landlock does not see, and whatever is known for holes.
    const DENIED: &[c_long] = &[
        sys::SYS_socket,
        sys::SYS_socketpair,
        sys::SYS_connect,
        sys::SYS_bind,
        sys::SYS_listen,
        sys::SYS_accept,
        sys::SYS_accept4,
        sys::SYS_clone,
        sys::SYS_clone3,
        sys::SYS_execve,
        sys::SYS_execveat,
        sys::SYS_setsid,
        sys::SYS_setpgid,
        sys::SYS_ptrace,
        sys::SYS_process_vm_readv,
        sys::SYS_process_vm_writev,
        sys::SYS_process_madvise,
        sys::SYS_kcmp,
        sys::SYS_tkill,
        sys::SYS_rt_sigqueueinfo,
        sys::SYS_rt_tgsigqueueinfo,
        sys::SYS_pidfd_open,
        sys::SYS_pidfd_getfd,
        sys::SYS_pidfd_send_signal,
        sys::SYS_mount,
        sys::SYS_umount2,
        sys::SYS_pivot_root,
        sys::SYS_chroot,
        sys::SYS_open_tree,
        sys::SYS_move_mount,
        sys::SYS_fsopen,
        sys::SYS_fsmount,
        sys::SYS_mount_setattr,
        sys::SYS_setns,
        sys::SYS_unshare,
        sys::SYS_bpf,
        sys::SYS_perf_event_open,
        sys::SYS_userfaultfd,
        sys::SYS_io_uring_setup,
        sys::SYS_io_uring_enter,
        sys::SYS_io_uring_register,
        sys::SYS_io_setup,
        sys::SYS_add_key,
        sys::SYS_request_key,
        sys::SYS_keyctl,
        sys::SYS_init_module,
        sys::SYS_finit_module,
        sys::SYS_delete_module,
        sys::SYS_kexec_load,
        sys::SYS_reboot,
        sys::SYS_swapon,
        sys::SYS_swapoff,
        sys::SYS_acct,
        sys::SYS_quotactl,
        sys::SYS_syslog,
        sys::SYS_settimeofday,
        sys::SYS_clock_settime,
        sys::SYS_clock_adjtime,
        sys::SYS_adjtimex,
        sys::SYS_sethostname,
        sys::SYS_setdomainname,
        sys::SYS_personality,
        sys::SYS_memfd_create,
        sys::SYS_open_by_handle_at,
        sys::SYS_name_to_handle_at,
        sys::SYS_fanotify_init,
        sys::SYS_inotify_init1,
        sys::SYS_fchmod,
        sys::SYS_fchmodat,
        sys::SYS_fchown,
        sys::SYS_fchownat,
        sys::SYS_utimensat,
        sys::SYS_setxattr,
        sys::SYS_lsetxattr,
        sys::SYS_fsetxattr,
        sys::SYS_removexattr,
        sys::SYS_lremovexattr,
        sys::SYS_fremovexattr,
        sys::SYS_shmget,
        sys::SYS_shmat,
        sys::SYS_msgget,
        sys::SYS_semget,
        sys::SYS_mq_open,
        sys::SYS_setuid,
        sys::SYS_setgid,
        sys::SYS_setreuid,
        sys::SYS_setregid,
        sys::SYS_setresuid,
        sys::SYS_setresgid,
        sys::SYS_setgroups,
        sys::SYS_capset,
    ];

    /// The same by their older names, which newer processors do not have.
    #[cfg(target_arch = "x86_64")]
    const DENIED_OLDER: &[c_long] = &[
        sys::SYS_fork,
        sys::SYS_vfork,
        sys::SYS_chmod,
        sys::SYS_chown,
        sys::SYS_lchown,
        sys::SYS_utime,
        sys::SYS_utimes,
        sys::SYS_futimesat,
        sys::SYS_inotify_init,
        sys::SYS_iopl,
        sys::SYS_ioperm,
        sys::SYS_modify_ldt,
        sys::SYS_kexec_file_load,
    ];
    #[cfg(not(target_arch = "x86_64"))]
    const DENIED_OLDER: &[c_long] = &[];

    /// What is left in the end: compute, allocate, wait, talk on what is open, end.
    const ALLOWED: &[c_long] = &[
        sys::SYS_read,
        sys::SYS_readv,
        sys::SYS_write,
        sys::SYS_writev,
        sys::SYS_sendto,
        sys::SYS_recvfrom,
        sys::SYS_close,
        sys::SYS_fcntl,
        sys::SYS_fstat,
        sys::SYS_lseek,
        sys::SYS_epoll_ctl,
        sys::SYS_epoll_pwait,
        sys::SYS_ppoll,
        sys::SYS_futex,
        sys::SYS_brk,
        sys::SYS_munmap,
        sys::SYS_mremap,
        sys::SYS_madvise,
        sys::SYS_membarrier,
        sys::SYS_rseq,
        sys::SYS_set_robust_list,
        sys::SYS_sched_yield,
        sys::SYS_sched_getaffinity,
        sys::SYS_getcpu,
        sys::SYS_clock_gettime,
        sys::SYS_clock_getres,
        sys::SYS_clock_nanosleep,
        sys::SYS_nanosleep,
        sys::SYS_gettimeofday,
        sys::SYS_getrandom,
        sys::SYS_getpid,
        sys::SYS_gettid,
        sys::SYS_getuid,
        sys::SYS_geteuid,
        sys::SYS_getgid,
        sys::SYS_getegid,
        sys::SYS_getrusage,
        sys::SYS_sysinfo,
        sys::SYS_uname,
        sys::SYS_rt_sigaction,
        sys::SYS_rt_sigprocmask,
        sys::SYS_rt_sigreturn,
        sys::SYS_sigaltstack,
        sys::SYS_restart_syscall,
        sys::SYS_exit,
        sys::SYS_exit_group,
    ];

    #[cfg(target_arch = "x86_64")]
    const ALLOWED_OLDER: &[c_long] = &[sys::SYS_poll, sys::SYS_epoll_wait, sys::SYS_time];
    #[cfg(not(target_arch = "x86_64"))]
    const ALLOWED_OLDER: &[c_long] = &[];

    /// The first phase: all but the dangerous.
    pub(super) fn deny_much() -> Result<(), String> {
        let mut rules = always(DENIED, DENIED_OLDER);
        let own = u64::from(std::process::id());
        let others = |argument| condition(argument, SeccompCmpOp::Ne, own);
        // `abort` signals its own process; no other may be.
        for call in [sys::SYS_kill, sys::SYS_tgkill] {
            rules.insert(call, vec![rule(vec![others(0)?])?]);
        }
        // Process 0 is the caller itself.
        let not_self = condition(0, SeccompCmpOp::Ne, 0)?;
        rules.insert(sys::SYS_prlimit64, vec![rule(vec![others(0)?, not_self])?]);
        apply(rules, SeccompAction::Allow, SeccompAction::Errno(errno()))
    }

    /// The second phase: nothing but what is needed.
    pub(super) fn allow_little() -> Result<(), String> {
        let mut rules = always(ALLOWED, ALLOWED_OLDER);
        let executable = u64::try_from(sys::PROT_EXEC).unwrap_or(u64::MAX);
        for call in [sys::SYS_mmap, sys::SYS_mprotect] {
            let is_data = condition(2, SeccompCmpOp::MaskedEq(executable), 0)?;
            rules.insert(call, vec![rule(vec![is_data])?]);
        }
        let own = u64::from(std::process::id());
        let to_self = condition(0, SeccompCmpOp::Eq, own)?;
        rules.insert(sys::SYS_tgkill, vec![rule(vec![to_self])?]);
        apply(rules, SeccompAction::Errno(errno()), SeccompAction::Allow)
    }

    fn errno() -> u32 {
        u32::try_from(sys::EPERM).unwrap_or(1)
    }

    fn always(calls: &[c_long], older: &[c_long]) -> Rules {
        calls
            .iter()
            .chain(older)
            .map(|call| (*call, Vec::new()))
            .collect()
    }

    fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, String> {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value).map_err(lacks)
    }

    fn rule(conditions: Vec<SeccompCondition>) -> Result<SeccompRule, String> {
        SeccompRule::new(conditions).map_err(lacks)
    }

    fn apply(rules: Rules, otherwise: SeccompAction, listed: SeccompAction) -> Result<(), String> {
        let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(lacks)?;
        let filter = SeccompFilter::new(rules, otherwise, listed, architecture).map_err(lacks)?;
        let program = BpfProgram::try_from(filter).map_err(lacks)?;
        apply_filter(&program).map_err(lacks)
    }

    fn lacks(error: impl std::fmt::Display) -> String {
        format!("seccomp, which keeps a library away from the network ({error})")
    }
}
