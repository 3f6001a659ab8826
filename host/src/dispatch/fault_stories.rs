//! Ten thousand faults of a fleet of three, drawn from a seed: whatever its backends do, each message is sent once at most,
//! none is lost, and what is said of one is what became of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use phone_verify_plugin_api::{
    __linked_backends, Backend, Call, Error, ErrorKind, Host, Options, PhoneNumber as Number, Receipt,
    backend,
};
use phone_verify_plugin_host::{BackendName, Loader, LoaderConfig};
use serde_json::{Map, json};

use crate::{
    entropy::Entropy,
    fake_network::FakeNetwork,
    fake_service::{BOUNDS, Service, number, through},
    fleet::{Base, Bounds, Entry, ForTests, Library, Member, Members},
    model::{CodeFormat, Delivery, FailureClass, Language, Messages, PhoneNumber, Status, TestNumbers},
    rules::attempt::Terms,
    store::CheckRules,
    verifier::RegisterError,
};

/// How many faults are drawn at least.
const FAULTS: usize = 10_000;
const NAMES: [&str; 3] = ["one", "two", "three"];
/// Of each backend: many messages wait, and many are stored at once.
const WIDE: Bounds = Bounds {
    concurrency: 32,
    queue_length: 256,
    ..BOUNDS
};

/// A generator of numbers that is the same everywhere: `SplitMix64`.
struct Draw(u64);

impl Draw {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

/// What the phones know.
#[derive(Default)]
struct Truth {
    /// By backend and number: how often it was asked.
    asked: HashMap<(String, String), u64>,
    /// By number: how often an SMS arrived.
    arrived: HashMap<String, usize>,
    faults: usize,
}

static TRUTH: Mutex<Option<Truth>> = Mutex::new(None);

fn truth<T>(look: impl FnOnce(&mut Truth) -> T) -> T {
    let mut truth = TRUTH.lock().unwrap_or_else(PoisonError::into_inner);
    look(truth.get_or_insert_with(Truth::default))
}

#[derive(Options)]
struct FaultyOptions {
    /// Its name in the fleet.
    name: String,
}

/// Fails in every way that a backend can. How depends on its name, on the number and on how often it was asked, so that
/// the order in which tasks run changes nothing.
struct FaultyBackend {
    name: String,
    host: Host,
}

/// Errors after which certainly nothing was sent.
const CERTAIN: [ErrorKind; 12] = [
    ErrorKind::Config,
    ErrorKind::InvalidNumber,
    ErrorKind::UnreachableNumber,
    ErrorKind::OptedOut,
    ErrorKind::DestinationBlocked,
    ErrorKind::ContentRejected,
    ErrorKind::SenderRejected,
    ErrorKind::AuthFailed,
    ErrorKind::NoCredit,
    ErrorKind::Throttled,
    ErrorKind::Transient,
    ErrorKind::Internal,
];

#[backend]
impl Backend for FaultyBackend {
    type Options = FaultyOptions;

    fn new(options: FaultyOptions, host: Host) -> Result<Self, Error> {
        Ok(Self {
            name: options.name,
            host,
        })
    }

    async fn send_sms(&self, number: &Number, _message: &str, _call: &Call) -> Result<Receipt, Error> {
        let time = truth(|truth| {
            let key = (self.name.clone(), number.e164().to_owned());
            let times = truth.asked.entry(key).or_default();
            *times += 1;
            *times
        });
        let seed = self
            .name
            .bytes()
            .chain(number.e164().bytes())
            .fold(time, |seed, byte| {
                seed.wrapping_mul(31).wrapping_add(u64::from(byte))
            });
        let mut draw = Draw(seed);
        let arrives = || truth(|truth| *truth.arrived.entry(number.e164().to_owned()).or_default() += 1);
        let drawn = draw.next(32);
        if drawn < 8 {
            arrives();
            return Ok(Receipt::new(format!("{}-{}", self.name, number.e164().len())));
        }
        truth(|truth| truth.faults += 1);
        // It may have arrived: the answer was cut, the connection was reset, or there was none in time.
        if drawn < 14 {
            if draw.next(2) == 0 {
                arrives();
            }
            match draw.next(3) {
                0 => panic!("it was told to"),
                1 => self.host.sleep(Duration::from_secs(3600)).await,
                _ => {}
            }
            return Err(Error::new(ErrorKind::OutcomeUnknown, "cut", "the answer was cut"));
        }
        let place = usize::try_from(draw.next(CERTAIN.len() as u64)).unwrap_or_default();
        let failure = Error::new(CERTAIN[place], "refused", "it was told to");
        let wait = Duration::from_secs(1 + draw.next(40));
        Err(if draw.next(2) == 0 {
            failure.with_retry_after(wait)
        } else {
            failure
        })
    }
}

fn member(name: &str, service: &Service) -> Arc<Member> {
    let nowhere = || "/nowhere".into();
    let loader = Loader::new(LoaderConfig::of(nowhere(), nowhere()));
    let backend = BackendName::parse("faulty.FaultyBackend").unwrap();
    let options = Map::from_iter([("NAME".to_owned(), json!(name))]);
    let backend = loader
        .load_linked(&backend, __linked_backends!(FaultyBackend), &options)
        .unwrap_or_else(|refusals| panic!("{refusals:?}"));
    let english = Language::of_tag("en").unwrap();
    let base = Base {
        code_format: CodeFormat::digits(6),
        messages: Arc::new(Messages::new("{security_code}", english, "Acme").unwrap()),
        entropy: Entropy::system(),
    };
    let before = service.fleet.members();
    let before = before.named(name).map(|entry| &*entry.member);
    let parts = Library::parts(backend, base, WIDE.send_timeout);
    Arc::new(Member::new(name, parts, WIDE, before, &service.clock))
}

/// Another fleet of these three or of some of them, in another order; who stays is who was there.
fn exchange(service: &Service, draw: &mut Draw) {
    let mut names = NAMES.to_vec();
    let first = usize::try_from(draw.next(3)).unwrap();
    names.rotate_left(first);
    names.truncate(1 + usize::try_from(draw.next(3)).unwrap());
    let before = service.fleet.members();
    let entry = |name: &&str| {
        let stays = before.named(name).filter(|_| first != 0);
        Entry {
            member: stays.map_or_else(|| member(name, service), |entry| Arc::clone(&entry.member)),
            refusals: [].into(),
        }
    };
    let entries: Vec<_> = names.iter().map(entry).collect();
    let order: Vec<_> = (0..entries.len()).collect();
    let mut route = through(&order);
    route.destination_failover = draw.next(2) == 0;
    let for_tests = ForTests::new(Arc::new(TestNumbers::default()), service.clock.clone());
    service
        .fleet
        .exchange(Members::of(entries, vec![route], for_tests).unwrap());
}

/// What the service says of the one registration of a number, against what its phone knows.
async fn judge(service: &Service, number: &PhoneNumber, registered: Result<(), RegisterError>) {
    let arrived = truth(|truth| truth.arrived.get(number.e164()).copied().unwrap_or_default());
    let rules = CheckRules {
        terms: Terms {
            now: service.clock.now(),
            only_once: true,
            max_failed_attempts: 5,
            bound: None,
        },
        failed_checks: None,
        guard: None,
    };
    let records = service.store.records_of(number, rules).await.unwrap();
    let [record] = &*records.verifications else {
        panic!(
            "one registration of {number:?}, and {} were found",
            records.verifications.len()
        )
    };
    let message = record.verification.messages.last().unwrap();
    match (&registered, message.delivery) {
        (Ok(()), Delivery::Sent) => assert_eq!(arrived, 1, "{message:?}"),
        (Err(RegisterError::NotSent(failure)), Delivery::Failed(class)) => {
            assert_eq!(
                failure.class, class,
                "what was told is what is recorded: {message:?}"
            );
            let at_most = usize::from(class == FailureClass::OutcomeUnknown);
            assert!(arrived <= at_most, "{arrived} arrived: {message:?}");
            if class != FailureClass::OutcomeUnknown {
                assert_eq!(record.verification.status, Status::NotSent);
            }
        }
        other => panic!("{other:?}"),
    }
    // All but the last try certainly sent nothing, and no backend was asked more than twice.
    let classes: Vec<_> = message.tries.iter().map(|made| made.class.as_deref()).collect();
    let (_, before) = classes.split_last().unwrap_or((&None, &[]));
    assert!(
        before
            .iter()
            .all(|class| !matches!(class, None | Some("outcome_unknown"))),
        "{classes:?}"
    );
    for name in NAMES {
        let asked = message.tries.iter().filter(|made| made.member == name).count();
        assert!(asked <= 2, "{message:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_faults_lose_no_message_double_none_and_tell_no_wrong_state() {
    let service = Service::start(FakeNetwork::default());
    let mut draw = Draw(2026);
    exchange(&service, &mut draw);
    let mut begun = 0;
    while truth(|truth| truth.faults) < FAULTS {
        let wave = WIDE.queue_length - 8 + usize::try_from(draw.next(16)).unwrap();
        let numbers: Vec<_> = (begun..).take(wave).map(number).collect();
        begun += u32::try_from(wave).unwrap();
        let all = join_all(numbers.iter().map(|number| service.register(number)));
        let meanwhile = async {
            for _ in 0..draw.next(1024) {
                tokio::task::yield_now().await;
            }
            if draw.next(2) == 0 {
                exchange(&service, &mut draw);
            }
        };
        let (registered, ()) = tokio::join!(all, meanwhile);
        while service.waiting() > 0 {
            service.store.ready().await.unwrap();
        }
        // What has no place is not begun.
        let registered = numbers.iter().zip(registered);
        let begun = registered.filter(|(_, registered)| !matches!(registered, Err(RegisterError::Busy)));
        join_all(begun.map(|(number, registered)| judge(&service, number, registered.map(drop)))).await;
        service.clock.advance(Duration::from_secs(1 + draw.next(16)));
        // What was judged is not searched again.
        service.verifier.cleanup(Duration::ZERO, false).await.unwrap();
    }
    // A paused clock runs ahead while a sweep waits for the thread of the store, and the time limit of draining passes. It
    // stands still while a task blocks.
    let (over, until_over) = std::sync::mpsc::channel::<()>();
    let blocking = tokio::task::spawn_blocking(move || until_over.recv());
    assert!(service.drain().await, "all is settled");
    drop(over);
    blocking.await.unwrap().unwrap_err();
    assert_eq!(service.waiting(), 0);
}
