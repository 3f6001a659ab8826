//! The one place where a library's requests are answered.
//!
//! Invariant: nothing here panics, and what a library says is masked before it is shown.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use phone_verify_plugin_abi::{RawError, abi_stable::std_types::RString, kind, verdict};
use zeroize::Zeroizing;

use super::{
    Services,
    call::ActiveCall,
    end_process, guarded,
    protocol::{Answer, Answered, HostReply, HostRequest, MAX_RANDOM_BYTES},
};
use crate::{
    convert::{self, raw_error},
    model::SecurityCode,
    raw::{Error, HttpResponse},
};

impl Services {
    /// Answers a request of this backend, made in this call; `None`: in none that is known.
    pub(crate) fn answer(self: &Arc<Self>, call: Option<&ActiveCall<'_>>, request: HostRequest) -> Answer {
        let answer = || match request {
            HostRequest::Log {
                level,
                message,
                fields,
            } => {
                self.log.write(level, &message, &fields, call);
                Answer::Now(Ok(HostReply::Done))
            }
            HostRequest::Random { length } => Answer::Now(Ok(self.random(length))),
            HostRequest::Http(request) => {
                let (services, call) = (Arc::clone(self), call.map(ActiveCall::kept));
                later(async move {
                    let response = services.http.exchange(request.0, call.as_deref()).await;
                    answered(response.map(|response| HostReply::Http(HttpResponse(response))))
                })
            }
            // There is none so far.
            HostRequest::Extension(_) => Answer::Now(Ok(HostReply::Extension(None))),
            of_a_call => match call {
                Some(call) => answer_in(call, of_a_call),
                None => Answer::error(over()),
            },
        };
        // Its error is made only where it is wanted: libraries ask often.
        guarded(None, || Some(answer())).unwrap_or_else(|| Answer::error(panicked()))
    }

    fn random(&self, length: u32) -> HostReply {
        let mut bytes = Zeroizing::new(vec![0; MAX_RANDOM_BYTES.min(length as usize)]);
        if let Err(error) = self.entropy.fill(&mut bytes) {
            // A library that asked for randomness and got none would make guessable codes.
            end_process(&format!("no randomness for a library: {error}"));
        }
        HostReply::Random(bytes)
    }
}

/// What takes its time; it may panic as little as what is answered at once.
fn later(work: impl Future<Output = Answered> + Send + 'static) -> Answer {
    Answer::Later(Box::pin(async move {
        let answer = AssertUnwindSafe(work).catch_unwind().await;
        answer.unwrap_or_else(|_| Err(Error(panicked())))
    }))
}

fn panicked() -> RawError {
    raw_error(kind::INTERNAL, "host_panic", "the host could not answer")
}

/// Answers what can only be asked in a call.
fn answer_in(call: &ActiveCall<'_>, request: HostRequest) -> Answer {
    match request {
        HostRequest::SecurityCode => {
            let code = call.base().security_code();
            let code = code.map(|code| HostReply::Text(RString::from(code.expose())));
            Answer::Now(answered(code.map_err(|failure| convert::raw_failure(&failure))))
        }
        HostRequest::Message { security_code } => {
            Answer::Now(match SecurityCode::new(security_code.as_str()) {
                Some(code) => Ok(HostReply::Text(RString::from(call.base().message(&code)))),
                None => Err(Error(raw_error(
                    kind::INTERNAL,
                    "bad_security_code",
                    "a security code has 1 to 64 characters and no control characters",
                ))),
            })
        }
        HostRequest::Validate { security_code } => {
            let Some(code) = SecurityCode::new(security_code.as_str()) else {
                return Answer::Now(Ok(HostReply::Verdict(verdict::INVALID)));
            };
            let base = Arc::clone(call.base());
            later(async move {
                answered(match base.validate(&code).await {
                    Some(Ok(verdict)) => Ok(HostReply::Verdict(convert::raw_verdict(verdict))),
                    Some(Err(failure)) => Err(convert::raw_failure(&failure)),
                    None => Err(raw_error(
                        kind::UNSUPPORTED,
                        "unsupported",
                        "the base can only judge a code inside validate_security_code",
                    )),
                })
            })
        }
        HostRequest::Settle { index, outcome } => {
            // What is reported in a call of another kind is nobody's business.
            if let Some(reported) = call.reported() {
                let outcome = outcome.map(|receipt| receipt.0).map_err(|error| error.0);
                reported.settle(call, index, outcome);
            }
            Answer::Now(Ok(HostReply::Done))
        }
        HostRequest::Log { .. }
        | HostRequest::Random { .. }
        | HostRequest::Http(_)
        | HostRequest::Extension(_) => Answer::error(over()),
    }
}

fn answered(outcome: Result<HostReply, RawError>) -> Answered {
    outcome.map_err(Error)
}

/// The error of what is asked when its call is over, or there never was one.
pub(crate) fn over() -> RawError {
    raw_error(kind::INTERNAL, "call_over", "the call is over")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        BaseCalls, Call,
        model::{SendFailure, Verdict},
        services::call::PrivateTexts,
        testing,
    };

    struct PanickingBase;

    #[async_trait::async_trait]
    impl BaseCalls for PanickingBase {
        fn security_code(&self) -> Result<SecurityCode, SendFailure> {
            panic!("as it is to")
        }

        fn message(&self, _code: &SecurityCode) -> String {
            panic!("as it is to")
        }

        async fn validate(&self, _code: &SecurityCode) -> Option<Result<Verdict, SendFailure>> {
            panic!("as it is to")
        }
    }

    #[tokio::test]
    async fn a_panic_of_the_host_is_an_error_for_the_library_now_and_later() {
        let base = Arc::new(PanickingBase);
        let call = Call {
            base,
            ..testing::call(Duration::from_secs(1))
        };
        let services = testing::services();
        let call = ActiveCall::new(call, &services, PrivateTexts::default());
        let security_code = || RString::from("424242");
        for request in [
            HostRequest::SecurityCode,
            HostRequest::Message {
                security_code: security_code(),
            },
            HostRequest::Validate {
                security_code: security_code(),
            },
        ] {
            let answer = match services.answer(Some(&call), request) {
                Answer::Now(answer) => answer,
                Answer::Later(work) => work.await,
            };
            let code = answer.err().map(|error| error.0.code.into_string());
            assert_eq!(code.as_deref(), Some("host_panic"));
        }
    }
}
