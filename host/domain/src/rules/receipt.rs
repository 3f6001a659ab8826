//! What a provider's report changes in the record of a message that the provider accepted.
//!
//! The states have an order: sent, unknown, undelivered, delivered. A report moves a message forward in it and never
//! back. Providers send reports twice, late and in any order, so the state must depend on which reports came and not on
//! their order. Delivered is last: a handset that has the text still has it when a carrier later reports a failure, as
//! for a copy of the text or for a time limit that nobody stopped.
//!
//! Invariants: whatever the order of the reports, the state is the furthest of them; a message that no provider accepted
//! is not touched.

use crate::{
    clock::UnixMillis,
    model::{Delivery, DeliveryReport, Reported, ReportedState},
};

/// How long a report is kept whose message is not known yet. A provider may report before the answer to the request that
/// sent the message is recorded; with the deadlines of sending, that takes less than a minute.
pub const EARLY_REPORT_MILLIS: u64 = 2 * 60 * 1000;

/// How many such reports are kept. While there are so many, no further one is.
pub const MAX_EARLY_REPORTS: u32 = 4096;

/// What is to be done with a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// This is to be recorded.
    Recorded {
        /// The state from now on.
        delivery: Delivery,
        /// All that is known from reports.
        reported: Reported,
    },
    /// It says nothing that is not known.
    NothingNew,
    /// It is about a message that no provider accepted, as far as is known.
    NotAccepted,
}

/// The place of a state in the order. `None`: no report changes it.
fn place(delivery: Delivery) -> Option<u8> {
    match delivery {
        Delivery::Pending | Delivery::Failed(_) => None,
        Delivery::Sent => Some(0),
        Delivery::Unconfirmed => Some(1),
        Delivery::Undelivered => Some(2),
        Delivery::Delivered => Some(3),
    }
}

/// The state that a report gives.
fn delivery_of(state: ReportedState) -> Delivery {
    match state {
        ReportedState::Sent => Delivery::Sent,
        ReportedState::Unknown => Delivery::Unconfirmed,
        ReportedState::Undelivered => Delivery::Undelivered,
        ReportedState::Delivered => Delivery::Delivered,
    }
}

/// Judges a report about a message in the state `delivery`, of which `reported` is known from earlier reports.
///
/// A report of a later state brings its own reason, code and time. Price and segments are facts of the message, which any
/// report may bring; the first one that is known is kept until a report of a later state has another.
pub fn decide(
    delivery: Delivery,
    reported: Option<&Reported>,
    report: &DeliveryReport,
    now: UnixMillis,
) -> Judged {
    let next = delivery_of(report.state);
    let (Some(before), Some(after)) = (place(delivery), place(next)) else {
        return Judged::NotAccepted;
    };
    let known_cost = reported.and_then(|known| known.cost);
    let known_segments = reported.and_then(|known| known.segments);
    if after > before {
        return Judged::Recorded {
            delivery: next,
            reported: Reported {
                cost: report.cost.or(known_cost),
                segments: report.segments.or(known_segments),
                ..Reported::of(report, now)
            },
        };
    }
    let is_of_present_state = after == before;
    let mut merged = reported.cloned().unwrap_or(Reported {
        received_at: now,
        class: None,
        code: None,
        at: None,
        cost: None,
        segments: None,
    });
    if is_of_present_state {
        merged.class = merged.class.or(report.class);
        merged.code = merged.code.or_else(|| report.code.clone());
        merged.at = merged.at.or(report.at);
    }
    merged.cost = known_cost.or(report.cost);
    merged.segments = known_segments.or(report.segments);
    let says_something = match reported {
        Some(known) => *known != merged,
        None => has_content(&merged),
    };
    if says_something {
        Judged::Recorded {
            delivery,
            reported: merged,
        }
    } else {
        Judged::NothingNew
    }
}

/// Whether anything but the time is known.
fn has_content(reported: &Reported) -> bool {
    let Reported {
        received_at: _,
        class,
        code,
        at,
        cost,
        segments,
    } = reported;
    class.is_some() || code.is_some() || at.is_some() || cost.is_some() || segments.is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Cost, FailureClass, ProviderMessageId};

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

    fn report(state: ReportedState) -> DeliveryReport {
        DeliveryReport::new(ProviderMessageId::new("SM1").unwrap(), state)
    }

    /// A message that the provider accepted, after these reports.
    fn after<'a>(reports: impl IntoIterator<Item = &'a DeliveryReport>) -> (Delivery, Option<Reported>) {
        let mut known = (Delivery::Sent, None);
        for report in reports {
            if let Judged::Recorded { delivery, reported } = decide(known.0, known.1.as_ref(), report, NOW) {
                known = (delivery, Some(reported));
            }
        }
        known
    }

    #[test]
    fn a_report_of_a_later_state_moves_a_message_and_no_report_moves_it_back() {
        use Delivery as D;
        use ReportedState as R;
        // Rows: the state before. Columns: sent, unknown, undelivered, delivered.
        let reports = [R::Sent, R::Unknown, R::Undelivered, R::Delivered];
        for (before, expected) in [
            (D::Sent, [D::Sent, D::Unconfirmed, D::Undelivered, D::Delivered]),
            (
                D::Unconfirmed,
                [D::Unconfirmed, D::Unconfirmed, D::Undelivered, D::Delivered],
            ),
            (
                D::Undelivered,
                [D::Undelivered, D::Undelivered, D::Undelivered, D::Delivered],
            ),
            (D::Delivered, [D::Delivered; 4]),
        ] {
            for (state, expected) in reports.into_iter().zip(expected) {
                let now = match decide(before, None, &report(state), NOW) {
                    Judged::Recorded { delivery, .. } => delivery,
                    Judged::NothingNew => before,
                    Judged::NotAccepted => panic!("{before:?} was accepted"),
                };
                assert_eq!(now, expected, "{before:?} after {state:?}");
            }
        }
    }

    #[test]
    fn what_no_provider_accepted_is_not_touched() {
        let failures = FailureClass::ALL.map(|(class, _)| Delivery::Failed(class));
        for before in failures.into_iter().chain([Delivery::Pending]) {
            for (state, _) in ReportedState::ALL {
                assert_eq!(decide(before, None, &report(state), NOW), Judged::NotAccepted);
            }
        }
    }

    #[test]
    fn a_reason_belongs_to_the_state_that_it_came_with() {
        let mut undelivered = report(ReportedState::Undelivered).with_code("30003");
        undelivered.class = Some(FailureClass::UnreachableNumber);
        let (_, reported) = after([&undelivered]);
        let reported = reported.unwrap();
        assert_eq!(reported.class, Some(FailureClass::UnreachableNumber));
        assert_eq!(reported.code.as_deref(), Some("30003"));
        // Delivered after all: the reason of the failure is not shown with it.
        let (delivery, reported) = after([&undelivered, &report(ReportedState::Delivered)]);
        assert_eq!(delivery, Delivery::Delivered);
        assert_eq!(
            reported.map(|reported| (reported.class, reported.code)),
            Some((None, None))
        );
        // And a failure that comes late leaves none behind.
        let (delivery, reported) = after([&report(ReportedState::Delivered), &undelivered]);
        assert_eq!(delivery, Delivery::Delivered);
        assert_eq!(
            reported.map(|reported| (reported.class, reported.code)),
            Some((None, None))
        );
    }

    #[test]
    fn any_report_may_bring_the_price() {
        let mut sent = report(ReportedState::Sent);
        sent.cost = Cost::parse("0.05", "EUR");
        sent.segments = Some(2);
        let delivered = report(ReportedState::Delivered);
        for reports in [[&sent, &delivered], [&delivered, &sent]] {
            let reported = after(reports).1.unwrap();
            assert_eq!((reported.cost, reported.segments), (sent.cost, Some(2)));
        }
    }

    fn any_report() -> impl Strategy<Value = DeliveryReport> {
        let state = (0..ReportedState::ALL.len()).prop_map(|n| ReportedState::ALL[n].0);
        let class = prop::option::of((0..FailureClass::ALL.len()).prop_map(|n| FailureClass::ALL[n].0));
        let cost = prop::option::of((0_u64..3).prop_map(|n| Cost::parse(&n.to_string(), "EUR").unwrap()));
        (state, class, "[a-c]{0,1}", cost, prop::option::of(1_u32..3)).prop_map(
            |(state, class, code, cost, segments)| DeliveryReport {
                class,
                cost,
                segments,
                ..report(state).with_code(&code)
            },
        )
    }

    proptest! {
        /// All orders of up to five reports: the state is the furthest, and a report that comes again changes nothing.
        #[test]
        fn the_state_depends_on_which_reports_came_and_not_on_their_order(
            reports in prop::collection::vec(any_report(), 1..=5),
        ) {
            let furthest = reports.iter().filter_map(|report| place(delivery_of(report.state))).max();
            for order in orders(reports.len()) {
                let reports = order.iter().map(|n| &reports[*n]);
                let (delivery, reported) = after(reports.clone());
                prop_assert_eq!(place(delivery), furthest);
                for report in reports {
                    let again = decide(delivery, reported.as_ref(), report, UnixMillis(NOW.0 + 1));
                    prop_assert_eq!(again, Judged::NothingNew);
                }
            }
        }
    }

    /// All orders of `count` things.
    fn orders(count: usize) -> Vec<Vec<usize>> {
        if count == 0 {
            return vec![Vec::new()];
        }
        let shorter = orders(count - 1);
        let insert = |order: Vec<usize>| {
            (0..count).map(move |place| {
                let mut longer = order.clone();
                longer.insert(place, count - 1);
                longer
            })
        };
        shorter.into_iter().flat_map(insert).collect()
    }
}
