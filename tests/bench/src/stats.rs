//! Percentiles of measured times.

use std::time::Duration;

/// Times of one measurement, sorted.
#[derive(Debug, Clone)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Takes times in any order.
    pub fn new(mut times: Vec<Duration>) -> Self {
        assert!(!times.is_empty(), "nothing was measured");
        times.sort_unstable();
        Self(times)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        self.percentile(1.0)
    }

    /// The time below which this share lies.
    pub fn percentile(&self, share: f64) -> Duration {
        let last = self.0.len() - 1;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index within the vector"
        )]
        let place = (last as f64 * share).round() as usize;
        self.0[place.min(last)]
    }

    /// The median.
    pub fn p50(&self) -> Duration {
        self.percentile(0.5)
    }

    /// The 99th percentile.
    pub fn p99(&self) -> Duration {
        self.percentile(0.99)
    }
}

/// A rate.
pub fn per_second(count: u64, took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let count = count as f64;
    count / took.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let times = Times::new((1..=101).rev().map(Duration::from_millis).collect());
        assert_eq!(times.p50(), Duration::from_millis(51));
        assert_eq!(times.p99(), Duration::from_millis(100));
        assert_eq!(times.percentile(1.0), Duration::from_millis(101));
        assert_eq!(times.count(), 101);
        assert!((per_second(10, Duration::from_secs(4)) - 2.5).abs() < 1e-9);
    }
}
