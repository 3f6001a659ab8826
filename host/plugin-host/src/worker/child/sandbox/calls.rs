//! System calls, by seccomp: first all but the dangerous, later nothing but the needed.
//!
//! Invariant: what is refused fails with EPERM and never kills, so that the library's own error says what it was.

use std::collections::BTreeMap;

use libc::{self as sys, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

// The kernel's numbers, of which the crate has the first only.
const F_SETOWN: libc::c_int = sys::F_SETOWN;
const F_SETSIG: libc::c_int = 10;
const F_SETOWN_EX: libc::c_int = 15;

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
    // May make a descriptor's owner, who gets its signals, of any process.
    sys::SYS_ioctl,
    sys::SYS_setsid,
    sys::SYS_setpgid,
    // Alarms run a library's code while nobody has called it.
    sys::SYS_setitimer,
    sys::SYS_timer_create,
    sys::SYS_ptrace,
    sys::SYS_process_vm_readv,
    sys::SYS_process_vm_writev,
    sys::SYS_process_madvise,
    sys::SYS_process_mrelease,
    sys::SYS_kcmp,
    sys::SYS_setpriority,
    sys::SYS_sched_setaffinity,
    sys::SYS_sched_setscheduler,
    sys::SYS_sched_setparam,
    sys::SYS_sched_setattr,
    sys::SYS_ioprio_set,
    sys::SYS_migrate_pages,
    sys::SYS_move_pages,
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
    OPEN_TREE_ATTR,
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
    FCHMODAT2,
    sys::SYS_fchown,
    sys::SYS_fchownat,
    sys::SYS_utimensat,
    sys::SYS_setxattr,
    sys::SYS_lsetxattr,
    sys::SYS_fsetxattr,
    sys::SYS_removexattr,
    sys::SYS_lremovexattr,
    sys::SYS_fremovexattr,
    SETXATTRAT,
    REMOVEXATTRAT,
    FILE_SETATTR,
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

// Too new for the crate, on some processors or all; new calls have one number everywhere.
const FCHMODAT2: c_long = 452;
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;
const OPEN_TREE_ATTR: c_long = 467;
const FILE_SETATTR: c_long = 469;

/// The same by their older names, which newer processors do not have.
#[cfg(target_arch = "x86_64")]
const DENIED_OLDER: &[c_long] = &[
    sys::SYS_fork,
    sys::SYS_vfork,
    sys::SYS_alarm,
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

/// The processor's second set of calls, which some kernels offer: their numbers have this bit. Most of them are the
/// calls above, the others lie in this range.
#[cfg(target_arch = "x86_64")]
const X32: c_long = 0x4000_0000;
#[cfg(target_arch = "x86_64")]
const X32_ONLY: std::ops::RangeInclusive<c_long> = 512..=547;

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

/// Signals that a worker cannot send itself, so that it is known whose doing it was when one ended it.
const OF_OTHERS: [libc::c_int; 3] = [sys::SIGKILL, sys::SIGSYS, sys::SIGSTOP];

/// The first phase: all but the dangerous.
pub(super) fn deny_much() -> Result<(), String> {
    let mut rules = always(DENIED, DENIED_OLDER);
    let own = u64::from(std::process::id());
    let others = |argument| condition(argument, SeccompCmpOp::Ne, own);
    // `abort` signals its own process; no other may be.
    for (call, argument) in [(sys::SYS_kill, 1), (sys::SYS_tgkill, 2)] {
        let mut refused = vec![rule(vec![others(0)?])?];
        refused.extend(when(argument, &OF_OTHERS)?);
        rules.insert(call, refused);
    }
    // Process 0 is the caller itself.
    let not_self = condition(0, SeccompCmpOp::Ne, 0)?;
    rules.insert(sys::SYS_prlimit64, vec![rule(vec![others(0)?, not_self])?]);
    // Whose signals a descriptor sends, and to whom; the end with the parent; the eyes of others.
    rules.insert(sys::SYS_fcntl, when(1, &[F_SETOWN, F_SETSIG, F_SETOWN_EX])?);
    let kept = [sys::PR_SET_PDEATHSIG, sys::PR_SET_DUMPABLE, sys::PR_SET_PTRACER];
    rules.insert(sys::SYS_prctl, when(0, &kept)?);
    #[cfg(target_arch = "x86_64")]
    {
        let calls = rules.keys().copied().chain(X32_ONLY);
        let second: Rules = calls.map(|call| (call | X32, Vec::new())).collect();
        rules.extend(second);
    }
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
    let mut ends_itself = vec![to_self];
    for signal in OF_OTHERS {
        let signal = u64::try_from(signal).map_err(lacks)?;
        ends_itself.push(condition(2, SeccompCmpOp::Ne, signal)?);
    }
    rules.insert(sys::SYS_tgkill, vec![rule(ends_itself)?]);
    apply(rules, SeccompAction::Errno(errno()), SeccompAction::Allow)
}

/// One of these values in this argument.
fn when(argument: u8, values: &[libc::c_int]) -> Result<Vec<SeccompRule>, String> {
    let is = |value: &libc::c_int| {
        let value = u64::try_from(*value).map_err(lacks)?;
        rule(vec![condition(argument, SeccompCmpOp::Eq, value)?])
    };
    values.iter().map(is).collect()
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
