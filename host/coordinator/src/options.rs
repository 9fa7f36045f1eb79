//! What an operator sets for a host; everything else is measured or fixed.

use std::time::Duration;

use podium_runtime::WarmBudget;
use podium_runtime::room::GUESTS_MAX;

/// How long a warm guest rests before it is asked to go: the pause between two messages of a conversation.
pub const WARM_IDLE_DEFAULT: Duration = Duration::from_secs(60);

/// How long a turn waits for people and timers before its guest is dropped: who answers at once finds it there, and one that
/// waits for hours costs no more than its owner.
pub const WAITING_IDLE_DEFAULT: Duration = Duration::from_secs(60);

/// Settings of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many guests are kept between turns.
    pub warm: WarmBudget,
    /// How long each of them may rest.
    pub warm_idle: Duration,
    /// How many guests live at once, at most.
    pub guests: usize,
    /// How long a turn waits before its guest is dropped.
    pub waiting_idle: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            warm: WarmBudget::default(),
            warm_idle: WARM_IDLE_DEFAULT,
            guests: GUESTS_MAX,
            waiting_idle: WAITING_IDLE_DEFAULT,
        }
    }
}
