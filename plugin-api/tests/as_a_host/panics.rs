//! A backend that panics wherever it can: each panic is an error of that call, with file and line, and nothing
//! is printed.

use std::future::pending;

use phone_verify_plugin_abi::{BackendObj, RawError, error_flag, kind};
use phone_verify_plugin_api::{
    Backend, Call, Error, Host, Options, PhoneNumber, Receipt, Report, Verdict, backend,
};

use crate::host::{TestHost, call, panics_that_got_out, send, sms};

#[derive(Options)]
struct Fuse {
    /// The method in which it panics.
    at: String,
}

struct Bomb {
    at: String,
    host: Host,
}

struct PanicsInDrop(&'static str);

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

#[backend]
impl Backend for Bomb {
    type Options = Fuse;

    fn new(options: Fuse, host: Host) -> Result<Self, Error> {
        assert_ne!(options.at, "constructor", "boom");
        Ok(Self { at: options.at, host })
    }

    async fn send_sms(&self, _number: &PhoneNumber, _message: &str, _call: &Call) -> Result<Receipt, Error> {
        match self.at.as_str() {
            "call" => panic!("boom in the call"),
            "later poll" => {
                self.host.sleep(std::time::Duration::ZERO).await;
                panic!("boom in a poll")
            }
            "cancelled" => {
                let _held = PanicsInDrop("boom when cancelled");
                pending().await
            }
            "payload" => std::panic::panic_any(PanicsInDrop("boom in a payload")),
            _ => Ok(Receipt::without_id()),
        }
    }

    async fn send_bulk_sms(
        &self,
        _numbers: &[PhoneNumber],
        _message: &str,
        _report: &Report,
        _call: &Call,
    ) -> Result<(), Error> {
        panic!("no story sends in bulk")
    }

    async fn validate_security_code(
        &self,
        _security_code: &str,
        _phone_number: &PhoneNumber,
        _session_token: &str,
        _call: &Call,
    ) -> Result<Verdict, Error> {
        Ok(Verdict::Valid)
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        assert_ne!(self.at, "drop", "boom in the drop");
    }
}

fn bomb(at: &str) -> Result<BackendObj, RawError> {
    TestHost::default().construct::<Bomb>(&format!(r#"{{"at": "{at}"}}"#))
}

/// That the error is a caught panic of this file, and that nothing was printed for it.
fn assert_panic(error: &RawError, text: &str) {
    assert_eq!(
        (error.kind, error.code.as_str()),
        (kind::INTERNAL, "plugin_panic")
    );
    assert_eq!(error.flags & error_flag::PANIC, error_flag::PANIC);
    let place = concat!("panicked at ", file!(), ":");
    assert!(error.message.contains(place), "{}", error.message);
    assert!(error.message.contains(text), "{}", error.message);
    assert_eq!(panics_that_got_out(), 0);
}

#[test]
fn in_the_constructor() {
    assert_panic(&bomb("constructor").err().unwrap(), "boom");
}

#[test]
fn in_a_call() {
    assert_panic(&send(&bomb("call").unwrap()).unwrap_err(), "boom in the call");
}

#[test]
fn in_a_later_poll() {
    assert_panic(&send(&bomb("later poll").unwrap()).unwrap_err(), "boom in a poll");
}

#[test]
fn with_a_payload_that_panics_when_it_is_dropped() {
    assert_panic(&send(&bomb("payload").unwrap()).unwrap_err(), "no message");
}

#[test]
fn in_the_drop_of_a_cancelled_call() {
    let backend = bomb("cancelled").unwrap();
    let mut cancelled = Box::pin(backend.send_sms(sms(), call()));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(cancelled.as_mut().poll(&mut context).is_pending());
    drop(cancelled);
    // The cancelled call has no result; the next call reports the panic.
    assert_panic(&send(&backend).unwrap_err(), "boom when cancelled");
}

#[test]
fn in_the_drop_of_the_backend() {
    let host = TestHost::default();
    let backend = host.construct::<Bomb>(r#"{"at": "drop"}"#).unwrap();
    send(&backend).unwrap();
    drop(backend);
    let [line] = host.lines().try_into().unwrap();
    assert!(line.starts_with("1 panicked at "), "{line}");
    assert!(line.contains("boom in the drop"), "{line}");
    assert_eq!(panics_that_got_out(), 0);
}

#[test]
fn an_instance_that_panicked_gets_no_other_call() {
    let backend = bomb("call").unwrap();
    send(&backend).unwrap_err();
    let again = send(&backend);
    assert_panic(&again.unwrap_err(), "not called again after it panicked at");
}

#[test]
fn an_instance_made_after_a_panic_is_sound() {
    send(&bomb("call").unwrap()).unwrap_err();
    send(&bomb("nowhere").unwrap()).unwrap();
}

#[test]
fn a_panic_outside_of_the_backend_is_not_touched() {
    drop(bomb("nowhere").unwrap());
    let caught = std::panic::catch_unwind(|| panic!("expected by this test"));
    assert!(caught.is_err());
    assert_eq!(panics_that_got_out(), 1);
}
