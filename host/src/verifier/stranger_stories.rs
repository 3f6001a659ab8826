//! What strangers do who register somebody else's number. They may keep it from getting a further code for a while; but
//! whoever has a code that is pending can use it to its last millisecond.

use std::time::Duration;

use crate::{
    fake_network::{FakeNetwork, failure},
    fake_service::{MAX_FAILED_ATTEMPTS, Service, code_in, number},
    model::{FailureClass, Locale, Purpose, SecurityCode, Status, Verdict},
    settings::Settings,
    verifier::{Policy, Registered, ResendError, ResendPolicy},
};

/// What a stranger does each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    /// Registers the number, for as many sessions and SMS as there may be.
    Registers,
    /// Sends wrong codes in every session that it got.
    Guesses,
    /// Cancels every session that it got.
    Cancels,
    /// Has the code sent again, for as many SMS as there may be.
    SendsAgain,
    /// Has the provider refuse its SMS, in whatever way.
    IsRefused,
    Everything,
}

const ATTACKS: [Attack; 6] = [
    Attack::Registers,
    Attack::Guesses,
    Attack::Cancels,
    Attack::SendsAgain,
    Attack::IsRefused,
    Attack::Everything,
];

const REFUSALS: [FailureClass; 4] = [
    FailureClass::InvalidNumber,
    FailureClass::OptedOut,
    FailureClass::NoCredit,
    FailureClass::OutcomeUnknown,
];

/// Somebody with as many addresses as there are, and every session of the number that could be had.
struct Stranger<'a> {
    service: &'a Service,
    attack: Attack,
    sessions: Vec<Registered>,
    turns: u8,
}

impl Stranger<'_> {
    fn does(&self, attack: Attack) -> bool {
        [attack, Attack::Everything].contains(&self.attack)
    }

    async fn register(&mut self) {
        let client = format!("198.51.100.{}", self.turns);
        let registered = self.service.register_from(&client, &number(1)).await;
        self.sessions.extend(registered);
    }

    async fn take_turn(&mut self) {
        self.turns += 1;
        let (service, verifier) = (self.service, &self.service.verifier);
        if self.does(Attack::IsRefused) {
            let class = REFUSALS[usize::from(self.turns) % REFUSALS.len()];
            service.network.next([Err(failure(class))]);
            service.has_a_backend_anew();
        }
        self.register().await;
        for session in &self.sessions {
            if self.does(Attack::SendsAgain) {
                let sent = verifier.resend(session.id, None, &Locale::default()).await;
                assert!(!matches!(sent, Err(ResendError::NotFound)));
            }
            for _ in 0..2 * MAX_FAILED_ATTEMPTS * u32::from(self.does(Attack::Guesses)) {
                let wrong = service.check(&number(1), &session.session_token, "wrong").await;
                assert_ne!(wrong.unwrap(), Verdict::Valid);
            }
            if self.does(Attack::Cancels) {
                verifier.cancel(session.id, "stranger".into()).await.unwrap();
            }
        }
    }
}

async fn try_everything(resend: ResendPolicy) {
    for attack in ATTACKS {
        for strangers_before in [0, 1, 2] {
            let case = format!("{attack:?}, {strangers_before} before, {resend:?}");
            let mut service = Service::with_limits(FakeNetwork::default(), Settings::defaults().limits);
            service.verifier = service.verifier.under(Policy {
                resend,
                ..service.verifier.policy.clone()
            });
            let mut stranger = Stranger {
                service: &service,
                attack,
                sessions: Vec::new(),
                turns: 0,
            };
            for turn in 1..=strangers_before {
                stranger.register().await;
                service.clock.advance(Duration::from_secs(60 * turn));
            }
            let holder = service.register_from("192.0.2.1", &number(1)).await.expect(&case);
            let right = code_in(&service.network.inbox().last().unwrap().1);
            let left = service.clock.now().until(holder.expires_at);
            for _ in 0..40 {
                stranger.take_turn().await;
                service.clock.advance(left / 40);
            }
            assert_eq!(service.clock.now(), holder.expires_at, "{case}");
            let (found, _) = service.verifier.find(holder.id).await.unwrap().unwrap();
            assert_eq!(found.status, Status::Pending, "{case}");
            let token = holder.session_token.clone();
            // At either door.
            let verdict = if strangers_before == 0 {
                service.check(&number(1), &token, &right).await
            } else {
                let code = SecurityCode::new(right).unwrap();
                let judged = service
                    .verifier
                    .check_by_id(holder.id, None, token, code, Purpose::default())
                    .await;
                judged.map(|judged| judged.unwrap().verdict)
            };
            assert_eq!(verdict.unwrap(), Verdict::Valid, "{case}");
        }
    }
}

#[tokio::test]
async fn whatever_strangers_do_with_a_number_its_holder_can_use_the_code_that_is_pending() {
    try_everything(ResendPolicy::Same).await;
}

#[tokio::test]
async fn strangers_who_have_other_codes_sent_take_nothing_from_the_holders() {
    try_everything(ResendPolicy::New).await;
}
