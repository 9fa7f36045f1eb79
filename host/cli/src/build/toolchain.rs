//! Which compilers can build agents on this machine, and what is missing.
//!
//! Owns the choice: a Rust toolchain that has the target, else Debian's packages. Must never
//! install or build anything: it only looks.

use std::fmt;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::{BuildError, TARGET, run};

/// The oldest compiler that the SDK takes.
const RUSTC_MIN: (u32, u32) = (1, 95);

/// Where wasi-libc is in Debian.
const LIBC: &str = "usr/lib/wasm32-wasi";

/// Where the standard library's source is in Debian.
const LIBRARY: &str = "usr/lib/rustlib/src/rust/library";

/// The two ways to compile an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A Rust toolchain with the target installed, usually rustup's.
    Rustup,
    /// Debian's compiler with a standard library built here.
    Debian,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rustup => "rustup",
            Self::Debian => "debian",
        })
    }
}

/// Something that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// What, in words.
    pub(crate) what: String,
    /// The command that mends it.
    pub(crate) mend: String,
}

impl Missing {
    fn new(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), mend: mend.into() }
    }

    fn package(what: &str, package: &str) -> Self {
        Self::new(format!("{what} (Debian package {package})"), format!("apt-get install {package}"))
    }

    pub(super) fn rustup() -> Self {
        let command = "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh";
        Self::new("rustup, cargo and rustc on PATH", command)
    }
}

/// A Rust toolchain that has the target.
#[derive(Debug, Clone)]
pub(super) struct Rustup {
    /// `cargo` on `PATH`.
    pub(super) cargo: PathBuf,
}

/// Debian's packages, and the two linkers that Debian does not carry.
#[derive(Debug, Clone)]
pub(super) struct Debian {
    /// Debian's cargo.
    pub(super) cargo: PathBuf,
    /// Debian's rustc.
    pub(super) rustc: PathBuf,
    /// What `rustc -vV` says.
    pub(super) version: String,
    /// The host's name, such as `x86_64-unknown-linux-gnu`.
    pub(super) host: String,
    /// wasi-libc's folder.
    pub(super) libc: PathBuf,
    /// Debian's own libraries of the host.
    pub(super) host_libraries: PathBuf,
    /// `wasm-component-ld` of any recent toolchain.
    pub(super) component_ld: PathBuf,
    /// `wasm-ld` of the same.
    pub(super) wasm_ld: PathBuf,
}

/// The toolchain that a build uses.
#[derive(Debug, Clone)]
pub(super) enum Toolchain {
    /// With the target installed.
    Rustup(Rustup),
    /// With a standard library built here.
    Debian(Debian),
}

impl Toolchain {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Rustup(_) => Kind::Rustup,
            Self::Debian(_) => Kind::Debian,
        }
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind().fmt(f)
    }
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Survey {
    rustup: Result<Rustup, Vec<Missing>>,
    debian: Result<Debian, Vec<Missing>>,
    forced: Option<Kind>,
    has_rustup: bool,
}

impl Survey {
    /// What is missing for a way of building; nothing when it works.
    pub(crate) fn missing(&self, kind: Kind) -> &[Missing] {
        let missing = match kind {
            Kind::Rustup => self.rustup.as_ref().err(),
            Kind::Debian => self.debian.as_ref().err(),
        };
        missing.map_or(&[], Vec::as_slice)
    }

    /// The way a build would take, if there is one.
    pub(crate) fn choice(&self) -> Option<Kind> {
        let order = match &self.forced {
            Some(kind) => std::slice::from_ref(kind),
            None => &[Kind::Rustup, Kind::Debian],
        };
        order.iter().copied().find(|kind| self.missing(*kind).is_empty())
    }

    /// The shortest list of what to mend: nothing when a build is possible.
    pub(crate) fn to_mend(&self) -> &[Missing] {
        if self.choice().is_some() {
            return &[];
        }
        match self.forced {
            Some(kind) => self.missing(kind),
            None if self.has_rustup => self.missing(Kind::Rustup),
            None => self.missing(Kind::Debian),
        }
    }

    /// True when `rustup target add` is what is missing.
    pub(super) fn wants_install(&self) -> bool {
        self.has_rustup && self.rustup.is_err() && self.forced != Some(Kind::Debian)
    }

    pub(super) fn choose(self) -> Result<Toolchain, BuildError> {
        let Some(kind) = self.choice() else { return Err(BuildError::NoToolchain(self.to_mend().to_vec())) };
        match kind {
            Kind::Rustup => self.rustup.map(Toolchain::Rustup),
            Kind::Debian => self.debian.map(Toolchain::Debian),
        }
        .map_err(BuildError::NoToolchain)
    }
}

/// Looks for toolchains, as a build in `folder` would see them.
pub(crate) fn survey(folder: &Path, environment: &Environment) -> Result<Survey, BuildError> {
    let forced = match environment.forced.as_deref() {
        None => None,
        Some("rustup") => Some(Kind::Rustup),
        Some("debian") => Some(Kind::Debian),
        Some(other) => return Err(BuildError::UnknownToolchain(other.to_owned())),
    };
    Ok(Survey {
        rustup: rustup(folder, environment),
        debian: debian(folder, environment),
        forced,
        has_rustup: environment.find("rustup").is_some(),
    })
}

fn rustup(folder: &Path, environment: &Environment) -> Result<Rustup, Vec<Missing>> {
    let (Some(cargo), Some(rustc)) = (environment.find("cargo"), environment.find("rustc")) else {
        return Err(vec![Missing::rustup()]);
    };
    let Some((version, sysroot)) = version(&rustc, folder, environment).zip(sysroot(&rustc, folder, environment))
    else {
        return Err(vec![Missing::new(format!("a working {}", rustc.display()), "rustup default stable")]);
    };
    let mut missing = Vec::new();
    if !is_recent(&version) {
        let what = format!("rustc {}.{} or later, {} is older", RUSTC_MIN.0, RUSTC_MIN.1, rustc.display());
        missing.push(Missing::new(what, "rustup update stable"));
    }
    if !sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir() {
        let what = format!("target {TARGET} of the Rust toolchain");
        missing.push(Missing::new(what, format!("rustup target add {TARGET}")));
    }
    if missing.is_empty() { Ok(Rustup { cargo }) } else { Err(missing) }
}

fn debian(folder: &Path, environment: &Environment) -> Result<Debian, Vec<Missing>> {
    let cargo = environment.system("usr/bin/cargo");
    let rustc = environment.system("usr/bin/rustc");
    let libc = environment.system(LIBC);
    let mut missing = Vec::new();
    let version = version(&rustc, folder, environment).filter(|version| is_recent(version));
    if version.is_none() {
        let what = format!("rustc {}.{} or later in /usr/bin", RUSTC_MIN.0, RUSTC_MIN.1);
        missing.push(Missing::package(&what, "rustc-web"));
    }
    if !cargo.is_file() {
        missing.push(Missing::package("cargo in /usr/bin", "cargo-web"));
    }
    if !environment.system(LIBRARY).join("std/Cargo.toml").is_file() {
        missing.push(Missing::package("the standard library's source", "rust-web-src"));
    }
    if !libc.join("libc.a").is_file() {
        missing.push(Missing::package("wasi-libc", "wasi-libc"));
    }
    let host = version.as_deref().and_then(|version| field(version, "host")).unwrap_or_default().to_owned();
    let linkers = linkers(folder, environment);
    if linkers.is_none() {
        let what = "wasm-component-ld and wasm-ld, which any stable Rust toolchain carries";
        missing.push(Missing::new(what, "rustup toolchain install stable --profile minimal"));
    }
    match (version, linkers) {
        (Some(version), Some((component_ld, wasm_ld))) if missing.is_empty() => Ok(Debian {
            host_libraries: environment.system("usr/lib/rustlib").join(&host),
            cargo,
            rustc,
            version,
            host,
            libc,
            component_ld,
            wasm_ld,
        }),
        _ => Err(missing),
    }
}

/// The linkers of the toolchain on `PATH`, else of any installed one, stable ones first.
fn linkers(folder: &Path, environment: &Environment) -> Option<(PathBuf, PathBuf)> {
    let on_path = environment.find("rustc").and_then(|rustc| sysroot(&rustc, folder, environment));
    let installed = std::fs::read_dir(environment.rustup_home.join("toolchains"));
    let mut installed: Vec<PathBuf> = installed.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    let is_stable = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("stable"));
    installed.sort_by(|a, b| (is_stable(b), b).cmp(&(is_stable(a), a)));
    on_path.into_iter().chain(installed).find_map(|sysroot| {
        let hosts = std::fs::read_dir(sysroot.join("lib/rustlib")).ok()?;
        hosts.flatten().find_map(|host| {
            let programs = host.path().join("bin");
            let (component_ld, wasm_ld) = (programs.join("wasm-component-ld"), programs.join("gcc-ld/wasm-ld"));
            (component_ld.is_file() && wasm_ld.is_file()).then_some((component_ld, wasm_ld))
        })
    })
}

fn version(rustc: &Path, folder: &Path, environment: &Environment) -> Option<String> {
    let mut command = environment.command(rustc, folder);
    command.arg("-vV");
    run::ask(command)
}

fn sysroot(rustc: &Path, folder: &Path, environment: &Environment) -> Option<PathBuf> {
    let mut command = environment.command(rustc, folder);
    command.args(["--print", "sysroot"]);
    run::ask(command).map(PathBuf::from)
}

/// A field of what `rustc -vV` says.
pub(super) fn field<'a>(version: &'a str, name: &str) -> Option<&'a str> {
    version.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn is_recent(version: &str) -> bool {
    let parse = || {
        let mut numbers = field(version, "release")?.split('.').map(str::parse::<u32>);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    parse().is_some_and(|found| found >= RUSTC_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey_of(rustup: bool, debian: bool, forced: Option<Kind>) -> Survey {
        let path = PathBuf::new();
        let found = Debian {
            cargo: path.clone(),
            rustc: path.clone(),
            version: String::new(),
            host: String::new(),
            libc: path.clone(),
            host_libraries: path.clone(),
            component_ld: path.clone(),
            wasm_ld: path.clone(),
        };
        Survey {
            rustup: if rustup { Ok(Rustup { cargo: path }) } else { Err(vec![Missing::new("target", "add")]) },
            debian: if debian { Ok(found) } else { Err(vec![Missing::new("libc", "apt-get")]) },
            forced,
            has_rustup: true,
        }
    }

    #[test]
    fn rustup_comes_first_unless_forced() {
        let choice = |rustup, debian, forced| survey_of(rustup, debian, forced).choice();
        assert_eq!(choice(true, true, None), Some(Kind::Rustup));
        assert_eq!(choice(false, true, None), Some(Kind::Debian));
        assert_eq!(choice(true, true, Some(Kind::Debian)), Some(Kind::Debian));
        assert_eq!(choice(false, true, Some(Kind::Rustup)), None);
        assert_eq!(choice(false, false, None), None);
    }

    #[test]
    fn what_is_missing_comes_with_its_command() {
        let error = survey_of(false, true, Some(Kind::Rustup)).choose().unwrap_err();
        assert_eq!(error.to_string(), "no toolchain can build agents here: target");
        assert_eq!(error.hint().as_deref(), Some("Run: add"));
        assert!(survey_of(true, false, None).to_mend().is_empty());
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let version = |release: &str| format!("rustc {release} (abc)\nbinary: rustc\nhost: x\nrelease: {release}\n");
        for (release, recent) in [("1.95.0", true), ("1.96.0-nightly", true), ("2.0.0", true), ("1.63.0", false)] {
            assert_eq!(is_recent(&version(release)), recent, "{release}");
        }
        assert!(!is_recent("no version"));
    }

    #[test]
    fn an_empty_machine_lacks_everything() {
        let root = tempfile::tempdir().unwrap();
        let environment = Environment { system_root: root.path().to_owned(), ..Environment::default() };
        let survey = survey(root.path(), &environment).unwrap();
        assert_eq!(survey.choice(), None);
        let mends: Vec<&str> = survey.missing(Kind::Debian).iter().map(|missing| missing.mend.as_str()).collect();
        for package in ["rustc-web", "cargo-web", "rust-web-src", "wasi-libc", "stable"] {
            assert!(mends.iter().any(|mend| mend.contains(package)), "{package} in {mends:?}");
        }
        assert_eq!(survey.to_mend(), survey.missing(Kind::Debian));
    }

    #[test]
    fn a_forced_toolchain_must_be_known() {
        let environment = Environment { forced: Some("nix".into()), ..Environment::default() };
        assert!(matches!(survey(Path::new("/"), &environment), Err(BuildError::UnknownToolchain(_))));
    }
}
