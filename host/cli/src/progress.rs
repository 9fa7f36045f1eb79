//! Progress on stderr, for what may take over a second. Shown on a terminal only, gone when it ends.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar or a spinner; it is cleared when dropped.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar over a number of bytes.
    pub(crate) fn bytes(total: u64, what: &str) -> Self {
        let bar = ProgressBar::new(total);
        Self::start(bar, "{msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}", what)
    }

    /// A spinner with a text, for what has no measure.
    pub(crate) fn spinner(what: &str) -> Self {
        Self::start(ProgressBar::new_spinner(), "{spinner} {msg} {elapsed}", what)
    }

    fn start(bar: ProgressBar, template: &str, what: &str) -> Self {
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }

    /// What is being done now.
    pub(crate) fn say(&self, what: &str) {
        self.0.set_message(crate::sanitise::cell(what));
    }

    /// Counts bytes that have gone.
    pub(crate) fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Counts for this bar from elsewhere.
    pub(crate) fn counter(&self) -> impl Fn(u64) + Send + Sync + 'static {
        let bar = self.0.clone();
        move |bytes| bar.inc(bytes)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
