//! Real daemons whose wall clock is set while they run, or between two runs; and daemons that are stopped and go on.
//! `host/src/verifier/time_stories.rs` sets the clock at random.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{Arc, OnceLock},
    time::UNIX_EPOCH,
};

use phone_verify::clock::Clock;
use phone_verify_tests::{
    connection::{Connection, Reply},
    daemon::{Answer, Daemon},
    gateways::{Behaviour, NexmoGateway},
    site::Site,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const NUMBER: &str = "+13478379634";
const HOUR: i64 = 60 * 60;
const DAY: i64 = 24 * HOUR;

/// The library that shifts the wall clock, built once.
fn shifting_library() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let library =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("shift-{}.so", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/it/time/shift.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library);
        let built = compiler.arg(source).arg("-ldl").output().expect("a C compiler");
        assert!(built.status.success(), "{built:?}");
        library
    };
    BUILT.get_or_init(build).clone()
}

/// An installation on a machine whose wall clock is set.
struct Machine {
    site: Site,
}

impl Machine {
    fn of(site: Site) -> Self {
        let machine = Self { site };
        machine.set_clock(0);
        machine
    }

    /// By so many seconds from the true time.
    fn set_clock(&self, by: i64) {
        // In one step: a clock is never half set.
        let new = self.site.write("shift.new", by.to_string());
        fs::rename(new, self.site.path("shift")).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.site.command(arguments);
        command
            .env("LD_PRELOAD", shifting_library())
            .env("SHIFT_FILE", self.site.path("shift"))
            .env("RUST_LOG", "info,phone_verify::dispatch=debug");
        command
    }

    fn serve(&self) -> Arc<Daemon> {
        Arc::new(Daemon::start(&mut self.command(&["serve"])))
    }
}

/// With a provider whose answers can be held back.
async fn with_gateway() -> (Machine, NexmoGateway) {
    let gateway = NexmoGateway::start().await;
    let site = Site::with_backend("nexmo.NexmoBackend", &Value::Object(gateway.options()));
    (Machine::of(site), gateway)
}

fn registering(daemon: &Arc<Daemon>) -> JoinHandle<Answer> {
    let daemon = Arc::clone(daemon);
    tokio::spawn(async move { daemon.register(NUMBER).await })
}

/// What a daemon logs when it has looked for what dead processes left.
const LOOKED: &str = "looked for messages that dead processes left";

#[tokio::test(flavor = "multi_thread")]
async fn whoever_sets_the_clock_while_an_sms_is_under_way_has_none_sent_twice() {
    for step in [DAY, -DAY] {
        let (machine, gateway) = with_gateway().await;
        let daemon = machine.serve();
        gateway.next(Behaviour::Hold);
        let under_way = registering(&daemon);
        gateway.sms_to(NUMBER).await;
        machine.set_clock(step);
        // It looks for such messages when it starts.
        let other = machine.serve();
        other.wait_for_log(LOOKED);
        gateway.release();
        assert_eq!(under_way.await.unwrap().status, 200);
        assert_eq!(gateway.inbox().len(), 1, "{}", other.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_was_stopped_and_goes_on_has_sent_no_sms_twice() {
    let (machine, gateway) = with_gateway().await;
    let stopped = machine.serve();
    gateway.next(Behaviour::Hold);
    let under_way = registering(&stopped);
    gateway.sms_to(NUMBER).await;
    stopped.signal(Signal::STOP);
    let other = machine.serve();
    other.wait_for_log(LOOKED);
    stopped.signal(Signal::CONT);
    gateway.release();
    assert_eq!(under_way.await.unwrap().status, 200);
    assert_eq!(gateway.inbox().len(), 1, "{}", other.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_daemon_left_is_sent_by_the_next_one_at_once_whatever_the_clock_says() {
    let (machine, gateway) = with_gateway().await;
    let killed = machine.serve();
    gateway.next(Behaviour::Hold);
    let under_way = registering(&killed);
    gateway.sms_to(NUMBER).await;
    under_way.abort();
    killed.signal(Signal::KILL);
    machine.set_clock(-DAY);
    let next = machine.serve();
    next.wait_for_log("sending again what another process left");
    gateway.release();
    let texts = async {
        while gateway.inbox().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    texts.await;
    let inbox = gateway.inbox();
    assert_eq!(inbox[0].text, inbox[1].text, "the same code");
}

/// When an answer says that it was made, in seconds since 1970.
fn date_of(answer: &Reply) -> u64 {
    let date = answer.head.lines().find_map(|line| line.strip_prefix("date: "));
    let date = date.unwrap_or_else(|| panic!("no date: {answer:?}"));
    let date = httpdate::parse_http_date(date).unwrap_or_else(|_| panic!("no date: {answer:?}"));
    date.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_date_of_the_clock_as_it_was_set_last() {
    let machine = Machine::of(Site::new());
    let daemon = machine.serve();
    let mut kept = Connection::to(daemon.address());
    for by in [0, DAY, 0, -DAY, 0] {
        machine.set_clock(by);
        let true_time = Clock::system().wall().0 / 1000;
        let set = true_time.saturating_add_signed(by);
        for asked in [
            "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
            "GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
        ] {
            let date = date_of(&kept.write(asked).answer());
            assert!(
                date.abs_diff(set) < HOUR.unsigned_abs(),
                "{asked}: {date} for {set}"
            );
        }
        for refused in [
            "GET /healthz HTTP/1.1\r\n\r\n",
            "nonsense\r\n\r\n",
            "GET / HTTP/3.0\r\n\r\n",
        ] {
            let answer = Connection::to(daemon.address()).write(refused).answer();
            let date = date_of(&answer);
            assert!(
                date.abs_diff(set) < HOUR.unsigned_abs(),
                "{refused}: {date} for {set}"
            );
            assert_eq!(answer.head.matches("date: ").count(), 1, "{answer:?}");
        }
    }
}

fn limited() -> Machine {
    let mut site = Site::new();
    site.with_defaults_of("limits");
    Machine::of(site)
}

/// Registering again has to wait, for no longer than the cooldown.
async fn assert_waits_for_the_cooldown(daemon: &Daemon) {
    let refused = daemon.register(NUMBER).await;
    assert_eq!((refused.status, refused.code()), (429, "resend_cooldown"));
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(wait <= 60, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_ran_ahead_and_was_put_right_keeps_nobody_waiting() {
    let machine = limited();
    machine.set_clock(2 * HOUR);
    let daemon = machine.serve();
    let made = daemon
        .post("/v1/verifications", &json!({ "phone_number": NUMBER }))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    machine.set_clock(0);
    assert_waits_for_the_cooldown(&daemon).await;
    let id = made.body["id"].as_str().unwrap();
    let shown = daemon.get(&format!("/v1/verifications/{id}")).await;
    for (time, ahead) in [("created_at", 0), ("resend_at", 62), ("expires_at", 602)] {
        let at = humantime::parse_rfc3339(shown.body[time].as_str().unwrap()).unwrap();
        let at = at.duration_since(UNIX_EPOCH).unwrap().as_secs();
        let now = Clock::system().wall().0 / 1000;
        assert!(at <= now + ahead, "{time} is {} s ahead: {shown:?}", at - now);
    }
    drop(daemon); // kills it
    assert_waits_for_the_cooldown(&machine.serve()).await;
    // Also after a day ahead that no daemon lived to see end.
    machine.set_clock(DAY);
    drop(machine.serve());
    machine.set_clock(0);
    let daemon = machine.serve();
    assert_eq!(
        daemon.register(NUMBER).await.status,
        200,
        "the clock says a day has passed"
    );
    assert_waits_for_the_cooldown(&daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_makes_no_code_good_for_longer() {
    let machine = Machine::of(Site::new());
    let daemon = machine.serve();
    let made = daemon
        .post("/v1/verifications", &json!({ "phone_number": NUMBER }))
        .await;
    let path = format!("/v1/verifications/{}", made.body["id"].as_str().unwrap());
    machine.set_clock(-DAY);
    let a_day_ago = || {
        seconds(
            &Clock::system()
                .ago(std::time::Duration::from_secs(24 * 60 * 60))
                .rfc3339(),
        )
    };
    let assert_ends_in_time = async |daemon: &Daemon| {
        let shown = daemon.get(&path).await;
        let ends_at = seconds(shown.body["expires_at"].as_str().unwrap());
        assert!(ends_at <= a_day_ago() + 602, "{shown:?}");
    };
    assert_ends_in_time(&daemon).await;
    drop(daemon); // kills it, and the next one knows how long that was
    assert_ends_in_time(&machine.serve()).await;
}

fn seconds(time: &str) -> u64 {
    let time = humantime::parse_rfc3339(time).unwrap();
    time.duration_since(UNIX_EPOCH).unwrap().as_secs()
}
