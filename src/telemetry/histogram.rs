//! Durations by size, with the buckets that OpenTelemetry's conventions name for HTTP servers.

use std::time::Duration;

/// Upper ends in microseconds: 5 ms to 10 s.
pub const BUCKETS: [u64; 14] = [
    5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000,
    2_500_000, 5_000_000, 7_500_000, 10_000_000,
];

/// Counts by bucket, each without those of the smaller ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    micros: u64,
}

impl Histogram {
    pub fn observe(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.count = self.count.saturating_add(1);
        self.micros = self.micros.saturating_add(micros);
        let at = BUCKETS.iter().position(|end| micros <= *end);
        if let Some(bucket) = at.and_then(|at| self.buckets.get_mut(at)) {
            *bucket = bucket.saturating_add(1);
        }
    }

    /// Takes the counts of another in.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine = mine.saturating_add(theirs);
        }
        self.count = self.count.saturating_add(other.count);
        self.micros = self.micros.saturating_add(other.micros);
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    #[must_use]
    pub fn seconds(&self) -> f64 {
        Duration::from_micros(self.micros).as_secs_f64()
    }

    /// Upper ends in seconds, and how many are no larger.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut so_far = 0_u64;
        BUCKETS.iter().zip(self.buckets).map(move |(end, count)| {
            so_far = so_far.saturating_add(count);
            (Duration::from_micros(*end).as_secs_f64(), so_far)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_their_upper_end() {
        let mut times = Histogram::default();
        for micros in [1, 5_000, 5_001, 10_000_000, 10_000_001] {
            times.observe(Duration::from_micros(micros));
        }
        let counts: Vec<_> = times.cumulative().map(|(_, count)| count).collect();
        assert_eq!(
            (counts[0], counts[1], counts[13], times.count()),
            (2, 3, 4, 5)
        );
        let mut twice = times;
        twice.add(&times);
        assert_eq!(twice.count(), 10);
        assert!((twice.seconds() - 2.0 * times.seconds()).abs() < 1e-9);
    }
}
