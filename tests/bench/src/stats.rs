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

/// Milliseconds as people read them.
pub fn ms(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1e3)
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
        assert_eq!(ms(Duration::from_micros(1500)), "1.500");
    }
}
