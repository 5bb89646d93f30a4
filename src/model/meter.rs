//! What is counted while the process runs: numbers that only grow, and lengths of time in buckets.
//!
//! All of them are atomics: counting waits for nobody and allocates nothing, so that it may be done for each mail. Reading them
//! while others count gives numbers of almost one moment; a histogram's total is that of its buckets, always.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One counter for each word of a closed set.
#[derive(Debug)]
pub struct Counters<const N: usize>([(&'static str, Counter); N]);

impl<const N: usize> Counters<N> {
    /// Counters at zero.
    #[must_use]
    pub fn new(words: [&'static str; N]) -> Self {
        Self(words.map(|word| (word, Counter::default())))
    }

    /// One more of `word`; a word that is not of the set is counted nowhere.
    pub fn count(&self, word: &str) {
        let found = self.0.iter().find(|(known, _)| *known == word);
        debug_assert!(found.is_some(), "{word} is not counted");
        if let Some((_, counter)) = found {
            counter.count();
        }
    }

    /// Each word with its number, in the order of the set.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(word, counter)| (*word, counter.get()))
    }
}

/// Lengths of time, counted in buckets.
#[derive(Debug)]
pub struct Histogram {
    /// The upper bounds of the buckets in seconds, ascending; what is longer than the last has a bucket of its own.
    bounds: &'static [f64],
    buckets: Box<[Counter]>,
    sum_micros: AtomicU64,
}

impl Histogram {
    /// A histogram with these upper bounds in seconds, ascending.
    #[must_use]
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, buckets: (0..=bounds.len()).map(|_| Counter::default()).collect(), sum_micros: AtomicU64::new(0) }
    }

    /// Counts a length of time in the first bucket that holds it.
    pub fn observe(&self, length: Duration) {
        let seconds = length.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.count();
        }
        self.sum_micros.fetch_add(u64::try_from(length.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// `(upper bound in seconds, how many were no longer)`, the last bound being infinite.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.buckets.iter()).scan(0, |sum, (bound, bucket)| {
            *sum += bucket.get();
            Some((bound, *sum))
        })
    }

    /// All lengths together, in seconds.
    #[must_use]
    pub fn sum_seconds(&self) -> f64 {
        Duration::from_micros(self.sum_micros.load(Ordering::Relaxed)).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_counts_in_the_first_bucket_that_holds_it_and_in_all_above() {
        let histogram = Histogram::new(&[0.1, 1.0]);
        for millis in [100, 101, 1_000, 5_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        assert_eq!(histogram.cumulative().collect::<Vec<_>>(), [(0.1, 1), (1.0, 3), (f64::INFINITY, 4)]);
        assert!((histogram.sum_seconds() - 6.201).abs() < 1e-9);
    }

    #[test]
    fn words_are_counted_apart() {
        let counters = Counters::new(["sent", "failed"]);
        counters.count("failed");
        counters.count("failed");
        assert_eq!(counters.each().collect::<Vec<_>>(), [("sent", 0), ("failed", 2)]);
    }
}
