//! A system that lacks a part of the sandbox: the operator is told, and what depends on it is not assumed.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]

use std::{
    fs,
    process::{Command, Stdio},
};

use phone_verify_tests::{
    artifacts,
    daemon::Daemon,
    site::{Site, ran},
};
use serde_json::json;

const NUMBER: &str = "+13478379634";

/// Runs a program on a system that does not know one call, or kills who makes it; and the same for what asks for
/// seccomp in the older way.
const LAUNCHER: &str = r#"
    #include <errno.h>
    #include <linux/filter.h>
    #include <linux/seccomp.h>
    #include <stddef.h>
    #include <string.h>
    #include <sys/prctl.h>
    #include <sys/syscall.h>
    #include <unistd.h>

    int main(int count, char **arguments) {
        if (count < 3) return 2;
        unsigned lacks = strncmp(arguments[1], "seccomp", 7) == 0 ? SYS_seccomp : SYS_landlock_create_ruleset;
        unsigned kills = strstr(arguments[1], "-kills") != NULL;
        struct sock_filter filter[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, lacks, 4, 0),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, lacks == SYS_seccomp ? SYS_prctl : -1u, 0, 2),
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_SET_SECCOMP, 1, 0),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
            BPF_STMT(BPF_RET | BPF_K, kills ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ERRNO | ENOSYS),
        };
        struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 3;
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) return 4;
        execv(arguments[2], arguments + 2);
        return 5;
    }
"#;

/// A site whose villain has this said to it with every SMS.
fn site(message: &str) -> Site {
    let mut site = Site::with_backend("villain.VillainBackend", &json!({ "CODE": "123456" }));
    site.set("phone_verification", "MESSAGE", message);
    site
}

/// The program on such a system.
fn command_without(site: &Site, what: &str, arguments: &[&str]) -> Command {
    let source = site.path("launcher.c");
    fs::write(&source, LAUNCHER).unwrap();
    let launcher = site.path("launcher");
    let built = Command::new("cc").arg("-o").arg(&launcher).arg(&source).status();
    assert!(built.unwrap().success());
    let mut command = Command::new(launcher);
    command.arg(what).arg(artifacts::program()).args(arguments);
    command.current_dir(site.folder()).stdin(Stdio::null());
    command
}

/// A daemon on such a system, which has this said to its villain with every SMS.
fn daemon_without(what: &str, message: &str) -> Daemon {
    Daemon::start(&mut command_without(&site(message), what, &["serve"]))
}

const WEAKER: &str = "worker processes run with a weaker sandbox, for this system lacks ";

#[tokio::test(flavor = "multi_thread")]
async fn without_landlock_it_is_told_and_calls_are_still_made_again() {
    let daemon = daemon_without("landlock", "attack abort {security_code}");
    daemon.wait_for_log(&format!(
        "{WEAKER}Landlock, which keeps a library away from files"
    ));
    let answer = daemon.register(NUMBER).await;
    assert!((500..600).contains(&answer.status), "{answer:?}");
    daemon.wait_for_log("a call whose worker process died before it had asked for anything is made again");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_seccomp_it_is_told_and_no_call_is_made_again_for_it_might_have_sent() {
    let daemon = daemon_without("seccomp", "attack abort {security_code}");
    daemon.wait_for_log(&format!(
        "{WEAKER}seccomp, which keeps a library away from the network"
    ));
    let answer = daemon.register(NUMBER).await;
    assert_eq!(
        (answer.status, answer.code()),
        (502, "sms_outcome_unknown"),
        "{answer:?}"
    );
    assert!(!daemon.log().contains("is made again"), "{}", daemon.log());
}

/// As a service with `SystemCallFilter=` has it unless it says otherwise.
#[test]
fn a_filter_that_kills_for_what_a_sandbox_takes_is_named_and_the_author_is_not() {
    let site = site("hello {security_code}");
    for what in ["landlock-kills", "seccomp-kills"] {
        let checked = ran(&mut command_without(&site, what, &["check"]));
        assert_ne!(checked.code, Some(0), "{checked:?}");
        let told = format!("{}{}", checked.stdout, checked.stderr);
        assert!(told.contains("P713"), "{told}");
        assert!(
            told.contains("SystemCallFilter=@system-service @sandbox"),
            "{told}"
        );
        assert!(!told.contains("author"), "{told}");
    }
}
