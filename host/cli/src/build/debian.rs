//! A standard library for wasm32-wasip2, built with Debian's compiler and kept in the cache.
//!
//! Owns the sysroot's folder: it appears whole, by a rename, and once. Must never be used half
//! built, and never survive the compiler that built it.

use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::environment::Environment;
use super::toolchain::{Debian, field};
use super::{BuildError, TARGET, run};

/// Raised when the recipe below changes, so that older sysroots are built again.
const RECIPE: u32 = 1;

/// How often and how long a build waits for another one's sysroot: 15 minutes, many times what
/// it takes on a slow machine.
const LOCK_WAIT: Duration = Duration::from_millis(200);
const LOCK_WAITS_MAX: u32 = 4_500;

/// What wasi-libc gives to the linker.
const LIBC_FILES: [&str; 4] = ["crt1.o", "crt1-command.o", "crt1-reactor.o", "libc.a"];

/// The package whose build makes cargo build the standard library.
const PACKAGE: &str = "empty";
const PACKAGE_TOML: &str = "\
[package]
name = \"empty\"
version = \"0.0.0\"
edition = \"2024\"

[profile.release]
panic = \"abort\"

[workspace]
";

/// The folder of the sysroot; builds it when this compiler and libc have none yet.
pub(super) fn sysroot(
    parts: &Debian,
    environment: &Environment,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf, BuildError> {
    let cache = environment.cache_home.join("podium/wasm-sysroot");
    let sysroot = cache.join(name(parts)?);
    if sysroot.is_dir() {
        return Ok(sysroot);
    }
    fs::create_dir_all(&cache).map_err(BuildError::io(format!("making {}", cache.display())))?;
    let _lock = lock(&cache, progress)?;
    // Another build may have made it while this one waited.
    if sysroot.is_dir() {
        return Ok(sysroot);
    }
    remove_others(&cache);
    progress("building the standard library for wasm32-wasip2; once, about a minute");
    let scratch = tempfile::tempdir_in(&cache).map_err(BuildError::io(format!("writing to {}", cache.display())))?;
    let made = make(parts, environment, scratch.path(), progress)?;
    fs::rename(&made, &sysroot).map_err(BuildError::io(format!("making {}", sysroot.display())))?;
    Ok(sysroot)
}

/// A name that changes with the compiler, the libc and the recipe.
fn name(parts: &Debian) -> Result<String, BuildError> {
    let archive = parts.libc.join("libc.a");
    let libc = fs::metadata(&archive).map_err(BuildError::io(format!("reading {}", archive.display())))?;
    let mut hasher = DefaultHasher::new();
    (RECIPE, &parts.version, &parts.host_libraries, libc.size(), libc.mtime()).hash(&mut hasher);
    Ok(format!("{}-{:016x}", field(&parts.version, "release").unwrap_or("rustc"), hasher.finish()))
}

fn lock(cache: &Path, progress: &mut dyn FnMut(&str)) -> Result<File, BuildError> {
    let path = cache.join("lock");
    let doing = || BuildError::io(format!("locking {}", path.display()));
    let file = File::create(&path).map_err(doing())?;
    for waits in 0..LOCK_WAITS_MAX {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if waits == 0 => progress("waiting for another build's standard library"),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(doing()(source)),
        }
        std::thread::sleep(LOCK_WAIT);
    }
    Err(BuildError::Busy(cache.to_owned()))
}

/// Removes sysroots of older compilers and what killed builds left: whoever holds the lock is the
/// only one at work here. A leftover that cannot be removed does no harm.
fn remove_others(cache: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        if entry.file_name() != "lock" {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn make(
    parts: &Debian,
    environment: &Environment,
    scratch: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf, BuildError> {
    let package = scratch.join("std");
    let libraries = build_std(parts, environment, &package, progress)?;
    let sysroot = scratch.join("sysroot");
    let lib = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    let contained = lib.join("self-contained");
    fs::create_dir_all(&contained).map_err(BuildError::io(format!("making {}", contained.display())))?;
    for file in libraries {
        if let Some(name) = file.file_name() {
            copy(&file, &lib.join(name))?;
        }
    }
    for name in LIBC_FILES {
        copy(&parts.libc.join(name), &contained.join(name))?;
    }
    // Procedural macros run on the host and need its libraries from the same sysroot.
    let host = sysroot.join("lib/rustlib").join(&parts.host);
    std::os::unix::fs::symlink(&parts.host_libraries, &host)
        .map_err(BuildError::io(format!("linking {}", host.display())))?;
    Ok(sysroot)
}

/// Builds the standard library; answers its `.rlib` files.
fn build_std(
    parts: &Debian,
    environment: &Environment,
    package: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<PathBuf>, BuildError> {
    let source = package.join("src");
    let doing = || BuildError::io(format!("writing {}", source.display()));
    fs::create_dir_all(&source).map_err(doing())?;
    fs::write(package.join("Cargo.toml"), PACKAGE_TOML).map_err(doing())?;
    fs::write(source.join("lib.rs"), "").map_err(doing())?;
    let target = package.join("target");
    let mut command = environment.command(&parts.cargo, package);
    command
        // `-Z build-std` is unstable; Debian's compiler is a stable one.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", &parts.rustc)
        .env("RUSTFLAGS", format!("-L {} -C embed-bitcode=yes", parts.libc.display()))
        .env("CARGO_TARGET_DIR", &target)
        .args(["build", "--release", "-Z", "build-std=std,panic_abort", "--target", TARGET]);
    let ended = run::run(command, progress)?;
    if !ended.is_success {
        let step = format!("building the standard library for {TARGET}");
        return Err(BuildError::Step { step, output: ended.tail });
    }
    let folder = target.join(TARGET).join("release/deps");
    let entries = fs::read_dir(&folder).map_err(BuildError::io(format!("reading {}", folder.display())))?;
    let own = format!("lib{PACKAGE}-");
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".rlib") && !name.starts_with(&own)
    };
    Ok(entries.flatten().map(|entry| entry.path()).filter(is_library).collect())
}

fn copy(from: &Path, to: &Path) -> Result<(), BuildError> {
    fs::copy(from, to).map(|_| ()).map_err(BuildError::io(format!("copying {}", from.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(root: &Path, version: &str) -> Debian {
        fs::write(root.join("libc.a"), "!<arch>\n").unwrap();
        // A compiler that cannot build: what is there must do.
        let nothing = PathBuf::from("/bin/false");
        Debian {
            cargo: nothing.clone(),
            rustc: nothing.clone(),
            version: version.to_owned(),
            host: "host".to_owned(),
            libc: root.to_owned(),
            host_libraries: root.to_owned(),
            component_ld: nothing.clone(),
            wasm_ld: nothing,
        }
    }

    #[test]
    fn a_sysroot_that_is_there_is_used_and_a_new_compiler_has_none() {
        let root = tempfile::tempdir().unwrap();
        let environment = Environment { cache_home: root.path().join("cache"), ..Environment::default() };
        let old = parts(root.path(), "release: 1.96.0");
        let kept = environment.cache_home.join("podium/wasm-sysroot").join(name(&old).unwrap());
        fs::create_dir_all(&kept).unwrap();
        assert_eq!(sysroot(&old, &environment, &mut |_| ()).unwrap(), kept);

        let new = parts(root.path(), "release: 1.97.0");
        assert_ne!(name(&new).unwrap(), name(&old).unwrap());
        let error = sysroot(&new, &environment, &mut |_| ()).unwrap_err();
        assert!(matches!(error, BuildError::Step { .. }), "{error}");
        let left: Vec<_> = fs::read_dir(kept.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["lock"], "a failed build leaves nothing that could be taken for a sysroot");
    }
}
