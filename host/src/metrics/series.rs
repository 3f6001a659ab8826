//! The types that the program counts with: counters, histograms, and series of them by label.
//!
//! Invariant: counting takes no lock, since it is on the path of every request. Only the first use of a new combination
//! of labels takes one.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;

/// A number that only grows, as a counter of Prometheus must.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `more`.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The buckets of a histogram: their upper bounds, and how many of the bounds' units make one base unit, such as
/// microseconds per second.
#[derive(Debug)]
pub(super) struct Buckets {
    bounds: &'static [u64],
    per_base_unit: u32,
}

/// Buckets for durations, from 100 µs to 20 s. The bounds are in microseconds.
pub(super) const LATENCY: Buckets = Buckets {
    bounds: &[
        100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
        2_500_000, 5_000_000, 10_000_000, 20_000_000,
    ],
    per_base_unit: 1_000_000,
};

/// Buckets for how long messages take to arrive, from 1 s to 12 h. The bounds are in milliseconds.
pub(super) const DELIVERY: Buckets = Buckets {
    bounds: &[
        1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000,
        14_400_000, 43_200_000,
    ],
    per_base_unit: 1_000,
};

/// Buckets for the size of groups.
pub(super) const SIZE: Buckets = Buckets {
    bounds: &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
    per_base_unit: 1,
};

/// A histogram: how many values fell into each bucket, and their sum.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: &'static Buckets,
    /// One count per bucket; the last one is for values above all bounds.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// The values of a histogram at one moment, in base units.
pub(super) struct Seen {
    /// For each upper bound: how many values are not above it.
    pub cumulative: Vec<(f64, u64)>,
    /// How many values there are.
    pub count: u64,
    /// The sum of all values.
    pub sum: f64,
}

impl Histogram {
    /// A histogram without values.
    pub(super) fn new(buckets: &'static Buckets) -> Self {
        Self {
            buckets,
            counts: (0..=buckets.bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// Adds a duration.
    pub(super) fn took(&self, time: Duration) {
        self.saw(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds a value, in the unit of the bounds.
    pub(super) fn saw(&self, size: u64) {
        let place = self.buckets.bounds.partition_point(|bound| *bound < size);
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(size, Ordering::Relaxed);
    }

    /// Reads the histogram. Other threads may add values meanwhile, but the count always equals that of the last
    /// bucket, as the format demands.
    #[expect(clippy::cast_precision_loss, reason = "a sum is told as a decimal number")]
    pub(super) fn seen(&self) -> Seen {
        let unit = f64::from(self.buckets.per_base_unit);
        let mut count = 0;
        let mut below = |place: usize| {
            count += self.counts[place].load(Ordering::Relaxed);
            count
        };
        let bounds = self.buckets.bounds.iter().enumerate();
        let cumulative = bounds
            .map(|(place, bound)| (*bound as f64 / unit, below(place)))
            .collect();
        let count = below(self.buckets.bounds.len());
        Seen {
            cumulative,
            count,
            sum: self.sum.load(Ordering::Relaxed) as f64 / unit,
        }
    }
}

/// Uses [`LATENCY`], so that a [`Series`] can create histograms itself.
impl Default for Histogram {
    fn default() -> Self {
        Self::new(&LATENCY)
    }
}

/// One counter or histogram for each combination of labels that was used. The caller must keep the number of
/// combinations bounded: they are never removed.
#[derive(Debug)]
pub(super) struct Series<L, M> {
    known: ArcSwap<HashMap<L, Arc<M>>>,
    /// Held while a combination is added, so that two threads cannot overwrite each other's addition.
    adding: Mutex<()>,
}

impl<L, M> Default for Series<L, M> {
    fn default() -> Self {
        Self {
            known: ArcSwap::from_pointee(HashMap::new()),
            adding: Mutex::new(()),
        }
    }
}

impl<L: Eq + Hash + Clone, M: Default> Series<L, M> {
    /// Counts with the counter or histogram of these labels, and creates it on first use.
    pub(super) fn with<Q, R>(&self, labels: &Q, count: impl FnOnce(&M) -> R) -> R
    where
        L: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = L> + ?Sized,
    {
        if let Some(known) = self.known.load().get(labels) {
            return count(known);
        }
        let _one_at_a_time = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = HashMap::clone(&self.known.load());
        let added = Arc::clone(known.entry(labels.to_owned()).or_default());
        self.known.store(Arc::new(known));
        count(&added)
    }

    /// Every combination with its value, in no order.
    pub(super) fn all(&self) -> Vec<(L, Arc<M>)> {
        let known = self.known.load();
        known
            .iter()
            .map(|(labels, one)| (labels.clone(), Arc::clone(one)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_does_not_exceed_each_bound() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 30_000_000] {
            histogram.took(Duration::from_micros(micros));
        }
        let seen = histogram.seen();
        assert_eq!(seen.cumulative[..2], [(0.0001, 2), (0.000_25, 3)]);
        assert_eq!((seen.cumulative.last(), seen.count), (Some(&(20.0, 3)), 4));
        assert!((seen.sum - 30.000_201).abs() < 1e-9);
    }

    #[test]
    fn what_is_counted_at_once_is_counted_once_each() {
        let series = Series::<String, Counter>::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..1000_u32 {
                        series.with((n % 7).to_string().as_str(), Counter::inc);
                    }
                });
            }
        });
        let all = series.all();
        assert_eq!(all.len(), 7);
        assert_eq!(all.iter().map(|(_, counter)| counter.get()).sum::<u64>(), 4000);
    }
}
