//! Reads the host's `/metrics`: names to numbers, and percentiles from a histogram's buckets. Pure.

use std::collections::HashMap;

/// The values of one scrape, by series: the name with its labels as the host wrote them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figures {
    values: HashMap<String, f64>,
}

impl Figures {
    /// Reads the text; a line that is no sample is passed over, so that a newer host is no trouble.
    pub(crate) fn read(text: &str) -> Self {
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self { values: lines.filter_map(sample).collect() }
    }

    /// A series without labels; 0 when it is not there.
    pub(crate) fn value(&self, name: &str) -> f64 {
        self.values.get(name).copied().unwrap_or(0.0)
    }

    /// The sum over all labels of a name.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let labelled = format!("{name}{{");
        let series = self.values.iter().filter(|(series, _)| *series == name || series.starts_with(&labelled));
        series.map(|(_, value)| value).sum()
    }

    /// A histogram's observations up to each bound, by bound.
    fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let start = format!("{name}_bucket{{le=\"");
        let mut buckets: Vec<(f64, f64)> = self
            .values
            .iter()
            .filter_map(|(series, count)| {
                let bound = series.strip_prefix(&start)?.strip_suffix("\"}")?;
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
                Some((bound, *count))
            })
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets
    }

    /// A percentile of what a histogram saw since `before`, as a collector would estimate it: evenly spread within a
    /// bucket. None when it saw nothing.
    pub(crate) fn percentile(&self, before: &Self, name: &str, share: f64) -> Option<f64> {
        let old: HashMap<u64, f64> =
            before.buckets(name).into_iter().map(|(bound, count)| (bound.to_bits(), count)).collect();
        let new = self.buckets(name).into_iter();
        let seen: Vec<(f64, f64)> =
            new.map(|(bound, count)| (bound, count - old.get(&bound.to_bits()).copied().unwrap_or(0.0))).collect();
        let total = seen.last().map_or(0.0, |(_, count)| *count);
        if total <= 0.0 {
            return None;
        }
        let wanted = total * share;
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in seen {
            if count >= wanted {
                // Beyond the last bound nothing is known but that bound.
                let within = if bound.is_finite() { (bound - low) * (wanted - below) / (count - below) } else { 0.0 };
                return Some(low + within);
            }
            (low, below) = (bound, count);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP t Time.\n# TYPE t histogram\nt_sum 3.5\nt_count 4\nt_bucket{le=\"1.0\"} 2\n\
                        t_bucket{le=\"2.0\"} 4\nt_bucket{le=\"+Inf\"} 4\nended_total{outcome=\"failed\"} 1\n\
                        ended_total{outcome=\"completed\"} 3\nclients 7\nnonsense\n# EOF\n";

    #[test]
    fn samples_are_read() {
        let figures = Figures::read(TEXT);
        assert_eq!(figures.value("clients"), 7.0);
        assert_eq!(figures.value("absent"), 0.0);
        assert_eq!(figures.sum("ended_total"), 4.0);
        assert_eq!(figures.sum("clients"), 7.0);
    }

    #[test]
    fn percentiles_are_of_what_came_between() {
        let (none, now) = (Figures::default(), Figures::read(TEXT));
        assert_eq!(now.percentile(&none, "t", 0.5), Some(1.0));
        assert_eq!(now.percentile(&none, "t", 0.75), Some(1.5));
        assert_eq!(now.percentile(&now, "t", 0.5), None, "nothing came");
        assert_eq!(now.percentile(&none, "absent", 0.5), None);
        let beyond = Figures::read("t_bucket{le=\"1.0\"} 0\nt_bucket{le=\"+Inf\"} 2\n");
        assert_eq!(beyond.percentile(&none, "t", 0.99), Some(1.0));
    }
}
