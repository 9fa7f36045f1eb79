//! Who may use whom: the one table of ranks, and the check of an arrow against it.
//!
//! A room is named by its folder. Arrows go from a higher rank to any lower one; a room that is not in the
//! table is an error, so that a new one gets its rank on the day it is made.

use std::fmt;

/// The host's and the gateway's rooms, lowest first. A room may use every room of a lower rank.
const RANKS: &[(u8, &[&str])] = &[
    (0, &["wit/wire"]),
    (1, &["host/kit"]),
    (2, &["host/sqlite"]),
    (3, &["host/store", "host/chronicle", "host/registry", "host/llm", "host/memory", "host/schedule"]),
    (4, &["host/capabilities"]),
    (5, &["host/runtime", "host/shim", "gateway/session"]),
    (6, &["host/coordinator", "gateway/server", "gateway/channels"]),
    (7, &["host/cli"]),
];

/// All that the gateway's server may take from the host.
const GATEWAY_SERVER_USES: &[&str] = &["wit/wire", "host/kit", "host/sqlite", "gateway/session", "gateway/channels"];

/// Where a room stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the table of ranks.
    Ranked(u8),
    /// A guest SDK: uses only other parts of the SDK.
    GuestSdk,
    /// An agent: uses only the guest SDK, and parts of agents.
    Agent,
    /// Tests: use everything, are used by tests only.
    Test,
}

/// An arrow that runs the wrong way.
#[derive(Debug, PartialEq, Eq)]
pub struct WrongArrow {
    /// The room that uses.
    pub from: String,
    /// The room that is used.
    pub to: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl fmt::Display for WrongArrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} uses {}: {}", self.from, self.to, self.rule)
    }
}

fn place(room: &str) -> Option<Place> {
    let below = |folder: &str| room == folder || room.starts_with(&format!("{folder}/"));
    if let Some((rank, _)) = RANKS.iter().find(|(_, rooms)| rooms.contains(&room)) {
        Some(Place::Ranked(*rank))
    } else if below("guest-sdk") {
        Some(Place::GuestSdk)
    } else if below("agents") {
        Some(Place::Agent)
    } else if below("tests") {
        Some(Place::Test)
    } else {
        None
    }
}

/// True when a room has its place.
pub fn known(room: &str) -> bool {
    place(room).is_some()
}

/// Checks one arrow between two rooms, given by their folders.
pub fn check(from: &str, to: &str) -> Result<(), WrongArrow> {
    let wrong = |rule| Err(WrongArrow { from: from.to_owned(), to: to.to_owned(), rule });
    let (Some(user), Some(used)) = (place(from), place(to)) else {
        return wrong("one of them has no rank; give it one in tests/tidy/src/ranks.rs");
    };
    match (user, used) {
        (Place::Test, _) => Ok(()),
        (_, Place::Test) => wrong("nothing uses tests"),
        (Place::Agent, Place::GuestSdk | Place::Agent) | (Place::GuestSdk, Place::GuestSdk) => Ok(()),
        (Place::Agent, _) => wrong("an agent uses the guest SDK only"),
        (Place::GuestSdk, _) => wrong("the guest SDK uses the WIT and itself only"),
        (Place::Ranked(_), Place::Agent | Place::GuestSdk) => wrong("the host knows agents by the WIT only"),
        (Place::Ranked(_), Place::Ranked(_)) if from == "gateway/server" && !GATEWAY_SERVER_USES.contains(&to) => {
            wrong("the gateway's server takes nothing from the host but kit and sqlite")
        }
        (Place::Ranked(high), Place::Ranked(low)) if low < high => Ok(()),
        (Place::Ranked(_), Place::Ranked(_)) => wrong("arrows go to a lower rank only"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_go_down() {
        for (from, to) in [
            ("host/cli", "host/coordinator"),
            ("host/cli", "wit/wire"),
            ("host/store", "host/sqlite"),
            ("gateway/server", "host/kit"),
            ("agents/hello", "guest-sdk/rust"),
            ("guest-sdk/rust", "guest-sdk/rust/derive"),
            ("tests/it", "wit/wire"),
            ("tests/bench", "tests/it"),
        ] {
            assert_eq!(check(from, to), Ok(()));
        }
    }

    #[test]
    fn every_other_arrow_is_refused() {
        for (from, to) in [
            ("host/store", "host/registry"),
            ("host/kit", "host/sqlite"),
            ("host/capabilities", "host/runtime"),
            ("gateway/server", "host/store"),
            ("agents/hello", "wit/wire"),
            ("guest-sdk/rust", "wit/wire"),
            ("host/runtime", "agents/hello"),
            ("host/cli", "tests/it"),
            ("host/cli", "host/unheard-of"),
        ] {
            assert!(check(from, to).is_err(), "{from} -> {to} was taken");
        }
    }
}
