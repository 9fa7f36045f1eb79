//! Which version a bare type means. Pure.

use podium_wire::AgentVersion;

/// The highest release, else the highest pre-release.
pub(crate) fn newest(versions: impl IntoIterator<Item = AgentVersion>) -> Option<AgentVersion> {
    versions.into_iter().max_by(|a, b| (!a.is_pre_release(), a).cmp(&(!b.is_pre_release(), b)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> AgentVersion {
        text.parse().expect("valid")
    }

    #[test]
    fn a_release_beats_every_pre_release() {
        let pick = |texts: &[&str]| newest(texts.iter().map(|text| version(text))).map(|found| found.to_string());
        assert_eq!(pick(&["1.9.0", "1.10.0", "2.0.0-rc.1"]).as_deref(), Some("1.10.0"));
        assert_eq!(pick(&["2.0.0-rc.2", "2.0.0-rc.10"]).as_deref(), Some("2.0.0-rc.10"));
        assert_eq!(pick(&[]), None);
    }

    fn any_version() -> impl Strategy<Value = AgentVersion> {
        let pre = prop::option::of(prop_oneof![(0u8..5).prop_map(|n| format!("rc.{n}")), Just("alpha".to_owned())]);
        (0u8..3, 0u8..3, 0u8..12, pre).prop_map(|(major, minor, patch, pre)| {
            let pre = pre.map(|pre| format!("-{pre}")).unwrap_or_default();
            version(&format!("{major}.{minor}.{patch}{pre}"))
        })
    }

    proptest! {
        #[test]
        fn nothing_that_is_there_comes_before_it(versions in prop::collection::vec(any_version(), 1..20), turn in 0usize..20) {
            let found = newest(versions.iter().cloned()).expect("not empty");
            prop_assert!(versions.contains(&found));
            for other in &versions {
                if other.is_pre_release() == found.is_pre_release() {
                    prop_assert!(*other <= found);
                } else {
                    prop_assert!(other.is_pre_release(), "a release lost to a pre-release");
                }
            }
            let mut turned = versions.clone();
            turned.rotate_left(turn % versions.len());
            prop_assert_eq!(newest(turned), Some(found));
        }
    }
}
