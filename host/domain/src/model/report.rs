//! What providers report about messages that they took, and the request that carries it.
//!
//! A library parses the request of its provider, so all of this is the library's word: every list and text has a bound.
//! Invariant: a [`ProviderMessageId`] is never shown, because a library may put anything into it.

use std::fmt;

use super::{FailureClass, Try};
use crate::clock::UnixMillis;

/// What a provider reports about one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryReport {
    /// Which message.
    pub message_id: ProviderMessageId,
    /// What became of it.
    pub state: ReportedState,
    /// Why it was not delivered, if the provider says so.
    pub class: Option<FailureClass>,
    /// The provider's own code, at most [`Try::MAX_CODE`] characters: see [`Self::with_code`].
    pub code: Option<String>,
    /// When it happened by the provider's clock. Only for people: nothing is decided by it.
    pub at: Option<UnixMillis>,
    /// What the message really costs.
    pub cost: Option<Cost>,
    /// In how many segments it was sent.
    pub segments: Option<u32>,
}

impl DeliveryReport {
    /// A report with nothing but the state.
    pub fn new(message_id: ProviderMessageId, state: ReportedState) -> Self {
        Self {
            message_id,
            state,
            class: None,
            code: None,
            at: None,
            cost: None,
            segments: None,
        }
    }

    /// With the provider's code, cut to [`Try::MAX_CODE`] characters. An empty one is none.
    #[must_use]
    pub fn with_code(self, code: &str) -> Self {
        let code: String = code.chars().take(Try::MAX_CODE).collect();
        Self {
            code: Some(code).filter(|code| !code.is_empty()),
            ..self
        }
    }
}

/// All that is known of a message from the reports about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reported {
    /// When the report of the present state came in.
    pub received_at: UnixMillis,
    /// Why it was not delivered, if the provider says so.
    pub class: Option<FailureClass>,
    /// The provider's own code, at most [`Try::MAX_CODE`] characters.
    pub code: Option<String>,
    /// When it happened by the provider's clock.
    pub at: Option<UnixMillis>,
    /// What the message really costs.
    pub cost: Option<Cost>,
    /// In how many segments it was sent.
    pub segments: Option<u32>,
}

impl Reported {
    /// What is known from this report alone.
    pub fn of(report: &DeliveryReport, received_at: UnixMillis) -> Self {
        Self {
            received_at,
            class: report.class,
            code: report.code.clone(),
            at: report.at,
            cost: report.cost,
            segments: report.segments,
        }
    }
}

/// The provider's id of a message, as [`Receipt::exact_id`](super::Receipt::exact_id) gave it: 1 to
/// [`Self::MAX_BYTES`] bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ProviderMessageId(String);

impl ProviderMessageId {
    /// The most bytes of an id.
    pub const MAX_BYTES: usize = 256;

    /// `None`: it is empty or longer than [`Self::MAX_BYTES`].
    pub fn new(id: impl Into<String>) -> Option<Self> {
        let id = id.into();
        (1..=Self::MAX_BYTES).contains(&id.len()).then_some(Self(id))
    }

    /// As the provider writes it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ProviderMessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The state that a report gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReportedState {
    /// It is on its way: the provider or the carrier has it.
    Sent,
    /// It arrived. Whether at the carrier or at the handset: see [`ReceiptKind`].
    Delivered,
    /// It did not arrive, and will not.
    Undelivered,
    /// The provider does not know what became of it, and will not say more.
    Unknown,
}

impl ReportedState {
    /// All states with their stable names.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Sent, "sent"),
        (Self::Delivered, "delivered"),
        (Self::Undelivered, "undelivered"),
        (Self::Unknown, "unknown"),
    ];

    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Unknown => "unknown",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(state, _)| *state)
    }
}

/// A price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// In millionths of the currency's unit.
    pub micros: u64,
    /// What it is paid in.
    pub currency: Currency,
}

impl Cost {
    /// Reads an amount such as `0.0333`, in decimals with a point and without a sign, and a currency such as `EUR`. What
    /// is below a millionth is rounded up. `None`: it is not that, or more than `u64` holds.
    pub fn parse(amount: &str, currency: &str) -> Option<Self> {
        const DECIMALS: usize = 6;
        let currency = Currency::parse(currency)?;
        let (whole, decimals) = amount.split_once('.').unwrap_or((amount, ""));
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && decimals.is_empty()) || !are_digits(whole) || !are_digits(decimals) {
            return None;
        }
        let (kept, cut) = decimals.split_at(decimals.len().min(DECIMALS));
        let micros: u64 = format!("{whole}{kept:0<DECIMALS$}").parse().ok()?;
        let is_rounded = cut.bytes().any(|digit| digit != b'0');
        Some(Self {
            micros: micros.checked_add(u64::from(is_rounded))?,
            currency,
        })
    }
}

/// The amount in decimals, without zeros at the end: `0.0333`.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, micros) = (self.micros / 1_000_000, self.micros % 1_000_000);
        let decimals = format!("{micros:06}");
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            decimals => write!(f, "{whole}.{decimals}"),
        }
    }
}

/// A currency by its three letters (ISO 4217), such as `EUR`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Reads three ASCII letters in either case. Whether there is such a currency is not checked.
    pub fn parse(code: &str) -> Option<Self> {
        let code: [u8; 3] = code.as_bytes().try_into().ok()?;
        let is_code = code.iter().all(u8::is_ascii_alphabetic);
        is_code.then(|| Self(code.map(|letter| letter.to_ascii_uppercase())))
    }

    /// In upper case.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("it has ASCII letters only")
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a delivered report of a backend is worth, by its library's manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptKind {
    /// The carrier took the message.
    Carrier,
    /// The handset took it, as far as the carrier tells the truth.
    Handset,
}

impl ReceiptKind {
    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Carrier => "carrier",
            Self::Handset => "handset",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Carrier, Self::Handset]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// How a backend takes reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakesReceipts {
    /// What a delivered report is worth.
    pub kind: ReceiptKind,
    /// Whether the provider signs its requests and the library checks that. If not, the address is a secret.
    pub are_signed: bool,
}

/// A request of a provider at the address for the reports of one backend.
#[derive(Clone, PartialEq, Eq)]
pub struct IncomingRequest {
    /// The HTTP method, in upper case.
    pub method: String,
    /// The whole URL as the provider sees it, with its query: signatures are over it.
    pub url: String,
    /// In the order in which they came.
    pub headers: Vec<(String, String)>,
    /// At most [`Self::MAX_BODY_BYTES`].
    pub body: Vec<u8>,
}

impl IncomingRequest {
    /// The longest body.
    pub const MAX_BODY_BYTES: usize = 64 * 1024;
}

/// The URL may have a secret in it, and all of it numbers.
impl fmt::Debug for IncomingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingRequest")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// What a library makes of an [`IncomingRequest`]: the answer to the provider, and the reports that were in it. A
/// request with a wrong signature is answered with 401 or 403, and has no reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptAnswer {
    /// The HTTP status, 200 to 599.
    pub status: u16,
    /// At most [`Self::MAX_HEADERS`].
    pub headers: Vec<(String, String)>,
    /// At most [`Self::MAX_BODY_BYTES`].
    pub body: Vec<u8>,
    /// At most [`Self::MAX_REPORTS`].
    pub reports: Vec<DeliveryReport>,
}

impl ReceiptAnswer {
    /// The most headers.
    pub const MAX_HEADERS: usize = 32;
    /// The longest body.
    pub const MAX_BODY_BYTES: usize = 64 * 1024;
    /// The most reports in one request.
    pub const MAX_REPORTS: usize = 100;

    /// An answer with an empty body and without reports.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            reports: Vec::new(),
        }
    }

    /// The first thing in it that is out of its bounds, in words for an operator. `None`: nothing is.
    pub fn out_of_bounds(&self) -> Option<&'static str> {
        let rules = [
            (
                (200..=599).contains(&self.status),
                "its status is not between 200 and 599",
            ),
            (
                self.headers.len() <= Self::MAX_HEADERS,
                "it has more than 32 headers",
            ),
            (
                self.body.len() <= Self::MAX_BODY_BYTES,
                "its body is longer than 64 KiB",
            ),
            (
                self.reports.len() <= Self::MAX_REPORTS,
                "it has more than 100 reports",
            ),
            (
                self.reports.is_empty() || !matches!(self.status, 401 | 403),
                "it has reports although it refuses the request",
            ),
        ];
        rules
            .into_iter()
            .find(|(is_kept, _)| !is_kept)
            .map(|(_, fault)| fault)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn report() -> DeliveryReport {
        DeliveryReport::new(ProviderMessageId::new("SM1").unwrap(), ReportedState::Delivered)
    }

    #[test]
    fn an_id_has_a_length_and_is_not_shown() {
        let longest = "x".repeat(ProviderMessageId::MAX_BYTES);
        assert_eq!(ProviderMessageId::new(&longest).unwrap().expose(), longest);
        assert_eq!(ProviderMessageId::new(longest + "x"), None);
        assert_eq!(ProviderMessageId::new(""), None);
        assert!(!format!("{:?}", report()).contains("SM1"));
    }

    #[test]
    fn a_code_is_cut() {
        assert_eq!(report().with_code("30003").code.as_deref(), Some("30003"));
        assert_eq!(report().with_code("").code, None);
        let code = report().with_code(&"é".repeat(1000)).code.unwrap();
        assert_eq!(code.chars().count(), Try::MAX_CODE);
    }

    #[test]
    fn a_cost_is_exact_to_a_millionth_and_rounded_up() {
        let micros = |amount| Cost::parse(amount, "eur").map(|cost| cost.micros);
        for (amount, expected) in [
            ("0.0333", 33_300),
            ("12", 12_000_000),
            (".5", 500_000),
            ("5.", 5_000_000),
            ("0.0000001", 1),
            ("0.0000000", 0),
            ("1.9999999", 2_000_000),
            ("000.010000", 10_000),
        ] {
            assert_eq!(micros(amount), Some(expected), "{amount}");
        }
        for amount in [
            "",
            ".",
            "-0.01",
            "+1",
            "1,5",
            "1e3",
            "0.0.1",
            " 1",
            "99999999999999",
        ] {
            assert_eq!(micros(amount), None, "{amount}");
        }
        for (amount, shown) in [("0.0333", "0.0333"), ("12.50", "12.5"), ("7", "7"), ("0", "0")] {
            assert_eq!(Cost::parse(amount, "EUR").unwrap().to_string(), shown);
        }
        let cost = Cost::parse("1", "usd").unwrap();
        assert_eq!(cost.currency.as_str(), "USD");
        for currency in ["", "US", "USDT", "U$D", "€"] {
            assert_eq!(Cost::parse("1", currency), None, "{currency}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_cost_or_refused(amount in "\\PC{0,40}|[0-9.]{0,40}", currency in "\\PC{0,4}") {
            let _ = Cost::parse(&amount, &currency);
        }
    }

    #[test]
    fn states_and_kinds_have_names() {
        for (state, name) in ReportedState::ALL {
            assert_eq!((state.as_str(), ReportedState::parse(name)), (name, Some(state)));
        }
        assert_eq!(ReportedState::parse("failed"), None);
        assert_eq!(ReceiptKind::parse("handset"), Some(ReceiptKind::Handset));
        assert_eq!(ReceiptKind::parse("carrier"), Some(ReceiptKind::Carrier));
        assert_eq!(ReceiptKind::parse("none"), None);
    }

    #[test]
    fn an_answer_is_within_its_bounds() {
        let answer = |status| ReceiptAnswer {
            reports: vec![report(); ReceiptAnswer::MAX_REPORTS],
            headers: vec![("a".into(), "b".into()); ReceiptAnswer::MAX_HEADERS],
            body: vec![0; ReceiptAnswer::MAX_BODY_BYTES],
            ..ReceiptAnswer::new(status)
        };
        assert_eq!(answer(200).out_of_bounds(), None);
        assert_eq!(ReceiptAnswer::new(403).out_of_bounds(), None);
        for status in [0, 101, 199, 600, 401, 403] {
            assert!(answer(status).out_of_bounds().is_some(), "{status}");
        }
        let mut longer = answer(200);
        longer.reports.push(report());
        assert_eq!(longer.out_of_bounds(), Some("it has more than 100 reports"));
        let mut longer = answer(200);
        longer.headers.push(("a".into(), "b".into()));
        assert_eq!(longer.out_of_bounds(), Some("it has more than 32 headers"));
        let mut longer = answer(200);
        longer.body.push(0);
        assert_eq!(longer.out_of_bounds(), Some("its body is longer than 64 KiB"));
    }

    #[test]
    fn a_request_shows_neither_address_nor_content() {
        let request = IncomingRequest {
            method: "POST".into(),
            url: "https://verify.example/v1/receipts/eu/s3cret?to=%2B13478379634".into(),
            headers: vec![("Authorization".into(), "s3cret".into())],
            body: b"s3cret".to_vec(),
        };
        let shown = format!("{request:?}");
        assert!(shown.contains("POST") && !shown.contains("s3cret") && !shown.contains("3478"));
    }
}
