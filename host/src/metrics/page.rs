//! What one scrape returns: families of samples, in their order, before they are written in a format.

use super::series::{Histogram, Seen};

/// What a family is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only ever grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Sizes in buckets.
    Histogram,
}

/// What a sample tells.
pub(super) enum Value {
    /// A whole number.
    Whole(u64),
    /// Any number.
    Decimal(f64),
    /// A histogram.
    Seen(Seen),
}

pub(super) type Labels = Vec<(&'static str, String)>;

/// All samples of one name.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
    pub(super) samples: Vec<(Labels, Value)>,
}

/// All families.
#[derive(Default)]
pub struct Page {
    pub(super) families: Vec<Family>,
}

impl Page {
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
