//! `podium doctor`: what this machine lacks for building and running agents, and the command that mends it.
//!
//! It only looks. What keeps agents from being built or hosts from starting is a failure; the rest is advice.

use std::path::Path;

use podium_coordinator::room;
use podium_kit::descriptors::Budget;
use podium_kit::machine::{self, Groups, Memory};
use podium_wire::ErrorCode;
use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};
use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use super::{Context, build};
use crate::build::{Environment, Kind, survey};
use crate::exit::{Exit, Failure};
use crate::output::{ERROR, GOOD, Output, WARN, size};

/// Agents that a host is to hold in a turn at once, each with a client: what the machine is measured against.
const AGENTS_WANTED: usize = room::GUESTS_MAX;

/// Address space of the pool of guests: each may grow to its cap without being moved, so it is set aside, not used.
const ADDRESS_SPACE_WANTED: u64 = 4 << 40;

/// Memory of an agent that waits in a turn, with its client (docs/guide/operating.md).
const MEMORY_PER_AGENT: u64 = 160 * 1024;

/// Threads of a host: as many as block at once, tokio's own, and those that tidy.
const THREADS_WANTED: u64 = 256;

/// Processors, in thousandths: with less than one of its own, connections wait for guests that compute.
const MILLI_PROCESSORS_WANTED: u64 = 1000;

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
        let groups = Groups::own();
        let mut checks = toolchain()?;
        checks.push(data_folder(&context));
        checks.push(descriptors());
        checks.extend(mappings());
        checks.push(address_space());
        checks.extend(memory_of(machine::memory(), groups.memory()));
        checks.push(threads_of(getrlimit(Resource::Nproc).current, groups.threads()));
        checks.push(processors(&groups));
        checks.push(mounts());
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

/// Whether a host of this user can show workspaces as file systems (`podium mount`).
fn mounts() -> Check {
    let device = accessat(CWD, "/dev/fuse", Access::READ_OK | Access::WRITE_OK, AtFlags::empty()).is_ok();
    let helper = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path)
            .any(|folder| accessat(CWD, folder.join("fusermount3"), Access::EXEC_OK, AtFlags::empty()).is_ok())
    });
    mounts_of(device, rustix::process::geteuid().is_root(), helper)
}

fn mounts_of(device: bool, is_root: bool, helper: bool) -> Check {
    const NAME: &str = "mounts";
    if !device {
        let detail = "/dev/fuse cannot be used, so there is no `podium mount`; all else works";
        return Check::not_ok(
            NAME,
            Verdict::Advice,
            detail,
            "modprobe fuse; in a container: --device /dev/fuse --cap-add SYS_ADMIN",
        );
    }
    if is_root || helper {
        Check::ok(NAME, "workspaces can be mounted")
    } else {
        let detail = "who is not root needs `fusermount3` for `podium mount`; all else works";
        Check::not_ok(NAME, Verdict::Advice, detail, "apt-get install fuse3")
    }
}

/// A host takes what the hard limit allows, so that is the one that counts.
fn descriptors() -> Check {
    descriptors_of(getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX))
}

fn descriptors_of(limit: u64) -> Check {
    const NAME: &str = "descriptors";
    let budget = Budget::of(limit);
    let wanted = Budget::limit_for_websockets(AGENTS_WANTED);
    let detail = format!(
        "have {}: {} connections, {} of them WebSockets; {} for databases, {} for workspaces' histories, {} for agents' files, {} for files in transfer",
        count(limit),
        count(budget.connections as u64),
        count(budget.websockets as u64),
        count(budget.databases as u64),
        count(budget.histories as u64),
        count(budget.guest_files as u64),
        count(budget.transfers as u64)
    );
    if limit >= wanted {
        return Check::ok(NAME, detail);
    }
    let detail = format!("{detail}; {wanted} are needed for {AGENTS_WANTED} clients");
    let mend = format!("ulimit -Hn {wanted}    (or LimitNOFILE={wanted} in a systemd unit)");
    Check::not_ok(NAME, Verdict::Advice, detail, mend)
}

fn mappings() -> Option<Check> {
    room::mappings_limit().map(mappings_of)
}

fn mappings_of(limit: u64) -> Check {
    const NAME: &str = "memory mappings";
    let fit = room::guests_that_fit(Some(limit));
    let wanted = room::mappings_for(AGENTS_WANTED);
    let detail = format!("have {limit} (vm.max_map_count): {fit} agents in a turn at once");
    if fit >= AGENTS_WANTED {
        return Check::ok(NAME, detail);
    }
    let detail = format!("{detail}; {wanted} are needed for {AGENTS_WANTED}");
    Check::not_ok(NAME, Verdict::Advice, detail, format!("sysctl -w vm.max_map_count={}", wanted.next_power_of_two()))
}

/// The pool of guests sets its address space aside when the host starts.
fn address_space() -> Check {
    address_space_of(getrlimit(Resource::As).current)
}

fn address_space_of(limit: Option<u64>) -> Check {
    const NAME: &str = "address space";
    match limit {
        Some(limit) if limit < ADDRESS_SPACE_WANTED => Check::not_ok(
            NAME,
            Verdict::Missing,
            format!("have {}, {} are needed (set aside, not used)", size(limit), size(ADDRESS_SPACE_WANTED)),
            "ulimit -v unlimited",
        ),
        Some(limit) => Check::ok(NAME, format!("have {}", size(limit))),
        None => Check::ok(NAME, format!("no limit; {} are set aside, not used", size(ADDRESS_SPACE_WANTED))),
    }
}

/// Memory bounds the agents in a turn once nothing else does: the machine's, or what the control group leaves of it.
fn memory_of(machine: Option<Memory>, group: Option<Memory>) -> Option<Check> {
    const NAME: &str = "memory";
    let available = machine.into_iter().chain(group).map(|memory| memory.available).min()?;
    let wanted = MEMORY_PER_AGENT * AGENTS_WANTED as u64;
    let fit = available / MEMORY_PER_AGENT;
    let bound = group.map(|group| format!(" of this container's {} (memory.max)", size(group.total)));
    let bound = bound.unwrap_or_default();
    let detail =
        format!("have {} available{bound}: {fit} small agents waiting in a turn with a client", size(available));
    if available >= wanted {
        return Some(Check::ok(NAME, detail));
    }
    let detail = format!("{detail}; {} are needed for {AGENTS_WANTED}", size(wanted));
    let mend = if group.is_some_and(|group| group.available == available) {
        "raise the memory limit of this container".to_owned()
    } else {
        "free -h".to_owned()
    };
    Some(Check::not_ok(NAME, Verdict::Advice, detail, mend))
}

/// The user's limit and the container's: the lower one counts.
fn threads_of(user: Option<u64>, group: Option<u64>) -> Check {
    const NAME: &str = "threads";
    let needed = format!("a host needs up to {THREADS_WANTED}");
    let (limit, whose, mend) = match (user, group) {
        (None, None) => return Check::ok(NAME, format!("no limit; {needed}")),
        (user, Some(group)) if user.is_none_or(|user| group <= user) => {
            (group, "all of this container (pids.max)", "raise the limit of processes of this container".to_owned())
        }
        (user, _) => {
            let user = user.unwrap_or(u64::MAX);
            (user, "all of this user's processes", format!("ulimit -u {}", THREADS_WANTED * 4))
        }
    };
    let detail = format!("have {} for {whose}; {needed}", count(limit));
    if limit < THREADS_WANTED { Check::not_ok(NAME, Verdict::Advice, detail, mend) } else { Check::ok(NAME, detail) }
}

/// Cores, and what the control group leaves of them.
fn processors(groups: &Groups) -> Check {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    processors_of(cores, groups.milli_processors())
}

fn processors_of(cores: usize, milli: Option<u64>) -> Check {
    const NAME: &str = "processors";
    let Some(milli) = milli else { return Check::ok(NAME, format!("have {cores}")) };
    let detail = format!(
        "have {cores}, and the time of {}.{:02} of them (cpu.max of this container)",
        milli / 1000,
        milli % 1000 / 10
    );
    if milli >= MILLI_PROCESSORS_WANTED {
        return Check::ok(NAME, detail);
    }
    let detail = format!("{detail}; agents that compute make others wait");
    Check::not_ok(NAME, Verdict::Advice, detail, "raise the processor limit of this container")
}

/// A number, or that there is no bound.
fn count(number: u64) -> String {
    // What remains of "no limit" when it is shared out is no number that says anything.
    if number >= 1 << 32 { "no limit".to_owned() } else { number.to_string() }
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
        assert_eq!(
            few.detail,
            "have 10000 (vm.max_map_count): 1000 agents in a turn at once; 64000 are needed for 10000"
        );
    }

    #[test]
    fn mounts_need_the_device_and_root_or_its_helper() {
        assert_eq!(mounts_of(true, true, false).result, Verdict::Ok);
        assert_eq!(mounts_of(true, false, true).result, Verdict::Ok);
        assert_eq!(mounts_of(true, false, false).mend, ["apt-get install fuse3"]);
        let none = mounts_of(false, true, true);
        assert_eq!(none.result, Verdict::Advice);
        assert!(none.mend[0].contains("modprobe fuse"));
    }

    #[test]
    fn each_limit_says_what_it_is_good_for_and_what_is_needed() {
        let enough = descriptors_of(20_000);
        assert_eq!(enough.result, Verdict::Ok);
        let few = descriptors_of(1024);
        assert_eq!(few.result, Verdict::Advice);
        let wanted = Budget::limit_for_websockets(10_000);
        assert!(few.detail.starts_with("have 1024: 422 connections, 395 of them WebSockets;"), "{}", few.detail);
        assert!(few.detail.ends_with(&format!("{wanted} are needed for 10000 clients")), "{}", few.detail);
        assert!(few.mend[0].contains(&wanted.to_string()));
        // What it says mends it.
        assert_eq!(descriptors_of(wanted).result, Verdict::Ok);
        assert_eq!(descriptors_of(wanted - 1).result, Verdict::Advice);
        assert!(descriptors_of(u64::MAX).detail.starts_with("have no limit"));
        assert_eq!(address_space_of(None).result, Verdict::Ok);
        assert_eq!(address_space_of(Some(1 << 34)).result, Verdict::Missing);
    }

    #[test]
    fn a_container_s_bounds_are_named_and_the_tighter_one_counts() {
        let memory = |available: u64| Some(Memory { total: 1 << 35, available });
        let of = |machine, group| memory_of(machine, group).expect("a check");
        assert_eq!(
            (of(memory(1 << 34), None).result, of(memory(1 << 30), None).mend),
            (Verdict::Ok, vec!["free -h".to_owned()])
        );
        let held = of(memory(1 << 34), Some(Memory { total: 1 << 31, available: 1 << 30 }));
        assert!(
            held.detail.starts_with("have 1.00 GiB available of this container's 2.00 GiB (memory.max): 6553 small"),
            "{held:?}"
        );
        assert_eq!((held.result, held.mend[0].contains("container")), (Verdict::Advice, true));
        // There may be more left of the container's share than of the machine.
        assert_eq!(of(memory(1 << 30), memory(1 << 34)).mend, ["free -h"]);
        assert!(memory_of(None, None).is_none());

        assert_eq!((threads_of(None, None).result, threads_of(Some(100), None).result), (Verdict::Ok, Verdict::Advice));
        let held = threads_of(Some(4096), Some(100));
        assert!(held.detail.starts_with("have 100 for all of this container (pids.max)"), "{held:?}");
        assert!(threads_of(Some(100), Some(4096)).mend[0].starts_with("ulimit -u"));
        assert!(threads_of(None, Some(4096)).detail.contains("pids.max"));

        assert_eq!(processors_of(2, None).detail, "have 2");
        let held = processors_of(8, Some(1250));
        assert_eq!((held.result, held.detail.contains("1.25")), (Verdict::Ok, true));
        assert_eq!(processors_of(8, Some(999)).result, Verdict::Advice);
    }

    #[test]
    fn a_folder_that_is_there_or_can_be_made_is_well() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_ne!(check_of(folder.path().to_owned()).result, Verdict::Missing);
        assert_eq!(check_of(folder.path().join("not/yet")).result, Verdict::Ok);
    }
}
