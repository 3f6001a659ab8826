//! One page of metrics before it is written in a format: families of samples, in order.

use super::series::{Histogram, Seen};

/// The type of a metric, as Prometheus knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A value that only grows. Its name ends in `_total`.
    Counter,
    /// A value that can rise and fall.
    Gauge,
    /// How many values fell into which bucket.
    Histogram,
}

/// The value of a sample.
pub(super) enum Value {
    /// A whole number.
    Whole(u64),
    /// Any number.
    Decimal(f64),
    /// The buckets, count and sum of a histogram.
    Seen(Seen),
}

/// Names and values of labels. Values need no escaping here; the format escapes them.
pub(super) type Labels = Vec<(&'static str, String)>;

/// All samples with one name.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
    pub(super) samples: Vec<(Labels, Value)>,
}

/// All families of the page.
#[derive(Default)]
pub struct Page {
    pub(super) families: Vec<Family>,
}

impl Page {
    /// Begins a family of counters, to which the caller adds samples. A family without samples is still described on
    /// the page.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        debug_assert!(name.ends_with("_total"), "{name}");
        self.family(name, Kind::Counter, help)
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(name, Kind::Gauge, help)
    }

    pub(super) fn histogram(&mut self, name: &'static str, help: &'static str) -> &mut Family {
        self.family(name, Kind::Histogram, help)
    }

    fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) -> &mut Family {
        let at = self.families.len();
        self.families.push(Family {
            name,
            kind,
            help,
            samples: Vec::new(),
        });
        &mut self.families[at]
    }
}

impl Family {
    pub(super) fn whole(&mut self, labels: &[(&'static str, &str)], value: u64) {
        self.add(labels, Value::Whole(value));
    }

    pub(super) fn decimal(&mut self, labels: &[(&'static str, &str)], value: f64) {
        self.add(labels, Value::Decimal(value));
    }

    pub(super) fn seen(&mut self, labels: &[(&'static str, &str)], histogram: &Histogram) {
        self.add(labels, Value::Seen(histogram.seen()));
    }

    fn add(&mut self, labels: &[(&'static str, &str)], value: Value) {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned()));
        self.samples.push((labels.collect(), value));
    }
}
