//! The one place where a library's requests are answered.
//!
//! Invariant: nothing here panics, and what a library says is masked before it is shown.

use std::sync::Arc;

use phone_verify_plugin_abi::{RawError, abi_stable::std_types::RString, kind, verdict};

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
        let panicked = raw_error(kind::INTERNAL, "host_panic", "the host could not answer");
        guarded(Answer::error(panicked), || match request {
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
                Answer::Later(Box::pin(async move {
                    let response = services.http.exchange(request.0, call.as_deref()).await;
                    answered(response.map(|response| HostReply::Http(HttpResponse(response))))
                }))
            }
            of_a_call => match call {
                Some(call) => answer_in(call, of_a_call),
                None => Answer::error(over()),
            },
        })
    }

    fn random(&self, length: u32) -> HostReply {
        let mut bytes = vec![0; MAX_RANDOM_BYTES.min(length as usize)];
        if let Err(error) = self.entropy.fill(&mut bytes) {
            // A library that asked for randomness and got none would make guessable codes.
            end_process(&format!("no randomness for a library: {error}"));
        }
        HostReply::Random(bytes)
    }
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
            Answer::Later(Box::pin(async move {
                answered(match base.validate(&code).await {
                    Some(Ok(verdict)) => Ok(HostReply::Verdict(convert::raw_verdict(verdict))),
                    Some(Err(failure)) => Err(convert::raw_failure(&failure)),
                    None => Err(raw_error(
                        kind::UNSUPPORTED,
                        "unsupported",
                        "the base can only judge a code inside validate_security_code",
                    )),
                })
            }))
        }
        HostRequest::Settle { index, outcome } => {
            // What is reported in a call of another kind is nobody's business.
            if let Some(reported) = call.reported() {
                let outcome = outcome.map(|receipt| receipt.0).map_err(|error| error.0);
                reported.settle(call, index, outcome);
            }
            Answer::Now(Ok(HostReply::Done))
        }
        HostRequest::Log { .. } | HostRequest::Random { .. } | HostRequest::Http(_) => Answer::error(over()),
    }
}

fn answered(outcome: Result<HostReply, RawError>) -> Answered {
    outcome.map_err(Error)
}

/// The error of what is asked when its call is over, or there never was one.
pub(crate) fn over() -> RawError {
    raw_error(kind::INTERNAL, "call_over", "the call is over")
}
