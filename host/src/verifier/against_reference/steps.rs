//! What people, operators and time may do.

use std::time::Duration;

use proptest::{prelude::*, sample::select};

use super::reference::{MEMORY, World};
use crate::{fake_service::LIFETIME, model::FailureClass};

/// Few, so that steps meet each other.
pub(super) const NUMBERS: usize = 2;
const REQUEST_KEYS: usize = 2;

/// Something that somebody does.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Register {
        number: usize,
        request: Option<usize>,
        fate: Fate,
    },
    Check {
        session: usize,
        right: bool,
        shown: Shown,
    },
    Resend {
        session: usize,
        fate: Fate,
    },
    Cancel {
        session: usize,
    },
    Wait(Duration),
    /// What a daemon does by itself once in a while.
    Sweep,
    CleanUp {
        age: Duration,
        dry_run: bool,
    },
    Forget {
        number: usize,
        dry_run: bool,
    },
}

/// What becomes of an SMS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Sent,
    Refused,
    Unknown,
}

impl Fate {
    pub(super) fn failure(self) -> Option<FailureClass> {
        match self {
            Self::Sent => None,
            Self::Refused => Some(FailureClass::InvalidNumber),
            Self::Unknown => Some(FailureClass::OutcomeUnknown),
        }
    }
}

/// What is shown together with a code.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown {
    /// The token, and the number that it was made for.
    TokenAndNumber,
    TokenAndAnotherNumber,
    /// The id and the token.
    TokenAndId,
    /// The id, and a token that nobody was given.
    FalseTokenAndId,
}

/// Any step that makes sense in this world.
pub(super) fn any_in(world: &World) -> BoxedStrategy<Step> {
    let fate = || prop_oneof![6 => Just(Fate::Sent), 1 => Just(Fate::Refused), 1 => Just(Fate::Unknown)];
    let request = prop::option::weighted(0.5, 0..REQUEST_KEYS);
    let register = (0..NUMBERS, request, fate()).prop_map(|(number, request, fate)| Step::Register {
        number,
        request,
        fate,
    });
    let short = Duration::from_millis(1);
    let times = vec![short, LIFETIME / 2, LIFETIME, LIFETIME + short, MEMORY];
    let wait = select(times.clone()).prop_map(Step::Wait);
    let clean_up = (select(times), any::<bool>()).prop_map(|(age, dry_run)| Step::CleanUp { age, dry_run });
    let forget = (0..NUMBERS, any::<bool>()).prop_map(|(number, dry_run)| Step::Forget { number, dry_run });
    let known: Vec<usize> = (0..world.sessions())
        .filter(|session| world.is_known(*session))
        .collect();
    if known.is_empty() {
        return prop_oneof![6 => register, 1 => wait, 1 => forget].boxed();
    }
    let session = || select(known.clone());
    let shown = prop_oneof![
        5 => Just(Shown::TokenAndNumber),
        1 => Just(Shown::TokenAndAnotherNumber),
        5 => Just(Shown::TokenAndId),
        1 => Just(Shown::FalseTokenAndId),
    ];
    let check =
        (session(), prop::bool::weighted(0.3), shown).prop_map(|(session, right, shown)| Step::Check {
            session,
            right,
            shown,
        });
    let resend = (session(), fate()).prop_map(|(session, fate)| Step::Resend { session, fate });
    let cancel = session().prop_map(|session| Step::Cancel { session });
    prop_oneof![
        6 => register,
        12 => check,
        6 => resend,
        1 => cancel,
        3 => wait,
        1 => Just(Step::Sweep),
        1 => clean_up,
        1 => forget,
    ]
    .boxed()
}
