//! `podium doctor`: what this machine lacks for building and running agents, and the command that mends it.
//!
//! It only looks. What keeps agents from being built or hosts from starting is a failure; the rest is advice.

use std::path::Path;

use podium_wire::ErrorCode;
use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};
use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use super::{Context, build};
use crate::build::{Environment, Kind, survey};
use crate::exit::{Exit, Failure};
use crate::output::{ERROR, GOOD, Output, WARN, size};

/// Descriptors that a busy host wants: DESIGN's 10,000 waiting agents with one each, clients and databases beside.
const DESCRIPTORS_WANTED: u64 = 32 * 1024;

/// Memory mappings of one guest (measured), and the guests that a host of this size is to hold.
const MAPPINGS_PER_GUEST: u64 = 6;
const GUESTS_WANTED: u64 = 10_000;

/// Free bytes below which a data folder is soon full.
const FREE_WANTED: u64 = 1024 * 1024 * 1024;

/// What this machine lacks for building and running agents, and the command that mends it
///
/// Changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium doctor
  podium doctor --json | jq '.checks[] | select(.result != \"ok\")'")]
pub(crate) struct Doctor {}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Advice,
    Missing,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    result: Verdict,
    detail: String,
    /// The commands or steps that mend it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mend: Vec<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, result: Verdict::Ok, detail: detail.into(), mend: Vec::new() }
    }

    fn not_ok(name: &'static str, result: Verdict, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { name, result, detail: detail.into(), mend: vec![mend.into()] }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    checks: &'a [Check],
}

impl Doctor {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        let mut checks = toolchain()?;
        checks.push(data_folder(&context));
        checks.push(descriptors());
        checks.extend(mappings());
        if context.output.is_json() {
            context.output.json(&Report { checks: &checks })?;
        } else {
            checks.iter().try_for_each(|check| print(context.output, check))?;
        }
        // The report has said it all.
        if checks.iter().any(|check| check.result == Verdict::Missing) {
            Err(Failure::Said(Exit::Failed))
        } else {
            Ok(())
        }
    }
}

fn print(output: &Output, check: &Check) -> Result<(), Failure> {
    let (style, word) = match check.result {
        Verdict::Ok => (GOOD, "ok     "),
        Verdict::Advice => (WARN, "advice "),
        Verdict::Missing => (ERROR, "missing"),
    };
    output.marked(style, word, &format!("{}: {}", check.name, check.detail))?;
    check.mend.iter().try_for_each(|mend| output.line(&format!("          {mend}")))
}

/// Whether agents can be built here, and each way to make it so.
fn toolchain() -> Result<Vec<Check>, Failure> {
    let environment = Environment::of_process();
    let here = std::env::current_dir()
        .map_err(|error| Failure::new(ErrorCode::Internal, format!("cannot see the current folder: {error}")))?;
    let survey = survey(&here, &environment).map_err(|error| build::failure(&error))?;
    if let Some(kind) = survey.choice() {
        return Ok(vec![Check::ok("build", format!("agents are built with {kind}"))]);
    }
    let way = |name, kind| {
        let missing = survey.missing(kind);
        let detail: Vec<&str> = missing.iter().map(|missing| missing.what.as_str()).collect();
        Check {
            name,
            result: Verdict::Advice,
            detail: format!("missing {}", detail.join("; ")),
            mend: missing.iter().map(|missing| missing.mend.clone()).collect(),
        }
    };
    let to_mend = survey.to_mend();
    let mut checks = vec![Check {
        name: "build",
        result: Verdict::Missing,
        detail: "no toolchain can build agents; the shortest way to one:".to_owned(),
        mend: to_mend.iter().map(|missing| missing.mend.clone()).collect(),
    }];
    checks.push(way("with rustup", Kind::Rustup));
    checks.push(way("with Debian's packages", Kind::Debian));
    Ok(checks)
}

/// Whether a host can keep its data, and whether one does.
fn data_folder(context: &Context<'_>) -> Check {
    const NAME: &str = "data folder";
    let folder = match context.global.data_folder() {
        Ok(folder) => folder,
        Err(error) => return Check::not_ok(NAME, Verdict::Missing, error.to_string(), "pass --data DIR"),
    };
    let shown = folder.display();
    if !folder.exists() {
        let parent = folder.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
        return if accessat(CWD, parent, Access::WRITE_OK, AtFlags::empty()).is_ok() {
            Check::ok(NAME, format!("{shown} is made by `podium up`"))
        } else {
            Check::not_ok(NAME, Verdict::Missing, format!("{shown} cannot be made"), format!("mkdir -p {shown}"))
        };
    }
    if accessat(CWD, &folder, Access::WRITE_OK, AtFlags::empty()).is_err() {
        return Check::not_ok(
            NAME,
            Verdict::Missing,
            format!("{shown} cannot be written"),
            format!("chown -R \"$USER\" {shown}"),
        );
    }
    match statvfs(&folder) {
        Ok(system) => {
            let free = system.f_bavail.saturating_mul(system.f_frsize);
            let detail = format!("{shown} can be written, {} free", size(free));
            if free < FREE_WANTED {
                Check::not_ok(NAME, Verdict::Advice, detail, format!("df -h {shown}"))
            } else {
                Check::ok(NAME, detail)
            }
        }
        Err(error) => {
            let detail = format!("the free space of {shown} is unknown: {error}");
            Check::not_ok(NAME, Verdict::Advice, detail, format!("df -h {shown}"))
        }
    }
}

/// A host takes what the hard limit allows, so that is the one that counts.
fn descriptors() -> Check {
    const NAME: &str = "descriptors";
    match getrlimit(Resource::Nofile).maximum {
        None => Check::ok(NAME, "no limit"),
        Some(limit) if limit >= DESCRIPTORS_WANTED => Check::ok(NAME, format!("{limit} at most")),
        Some(limit) => Check::not_ok(
            NAME,
            Verdict::Advice,
            format!("{limit} at most; a host with many agents wants {DESCRIPTORS_WANTED}"),
            format!("ulimit -Hn {DESCRIPTORS_WANTED}"),
        ),
    }
}

fn mappings() -> Option<Check> {
    let text = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?;
    text.trim().parse().ok().map(mappings_of)
}

fn mappings_of(limit: u64) -> Check {
    const NAME: &str = "memory mappings";
    let detail = format!("vm.max_map_count is {limit}: about {} agents in a turn at once", limit / MAPPINGS_PER_GUEST);
    let wanted = MAPPINGS_PER_GUEST * GUESTS_WANTED;
    if limit >= wanted {
        Check::ok(NAME, detail)
    } else {
        Check::not_ok(
            NAME,
            Verdict::Advice,
            detail,
            format!("sysctl -w vm.max_map_count={}", wanted.next_power_of_two()),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::args::Global;

    fn check_of(folder: PathBuf) -> Check {
        let global = Global { url: String::new(), url_given: false, data: Some(folder), json: false };
        let output = Output::new(false);
        data_folder(&Context { global: &global, output: &output })
    }

    #[test]
    fn the_default_of_linux_is_enough_mappings_and_less_is_not() {
        assert_eq!(mappings_of(65_530).result, Verdict::Ok);
        let few = mappings_of(10_000);
        assert_eq!((few.result, few.mend), (Verdict::Advice, vec!["sysctl -w vm.max_map_count=65536".to_owned()]));
    }

    #[test]
    fn a_folder_that_is_there_or_can_be_made_is_well() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_ne!(check_of(folder.path().to_owned()).result, Verdict::Missing);
        assert_eq!(check_of(folder.path().join("not/yet")).result, Verdict::Ok);
    }
}
