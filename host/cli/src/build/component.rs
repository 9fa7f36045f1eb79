//! Compiling an agent's package and putting its manifest into the component.
//!
//! Must never leave half a file where the component belongs, and never put anything into it that
//! changes from one build of the same source to the next.

use std::io::Write;
use std::path::{Path, PathBuf};

use podium_wire::manifest::{Manifest, SECTION};
use serde::Deserialize;

use super::environment::Environment;
use super::toolchain::Toolchain;
use super::{BuildError, TARGET, debian, run};

/// What every component begins with: the magic, then the version and layer of the binary format.
const PREAMBLE: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];

/// The id of a custom section.
const CUSTOM_SECTION: u8 = 0;

/// A compiled library.
#[derive(Debug)]
pub(super) struct Cdylib {
    /// The `.wasm` that cargo made.
    pub(super) path: PathBuf,
    /// Cargo's target folder.
    pub(super) target_folder: PathBuf,
}

/// The messages of `cargo build --message-format=json` that matter here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    target: Target,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Default, Deserialize)]
struct Target {
    crate_types: Vec<String>,
}

/// Compiles the package in a folder for release.
pub(super) fn compile(
    folder: &Path,
    toolchain: &Toolchain,
    environment: &Environment,
    progress: &mut dyn FnMut(&str),
) -> Result<Cdylib, BuildError> {
    let folder = folder.canonicalize().map_err(BuildError::io(format!("opening {}", folder.display())))?;
    // Panic messages hold paths of sources; a user's home has no place in a component.
    let remap = format!("--remap-path-prefix={}=cargo", environment.cargo_home.display());
    let mut command = match toolchain {
        Toolchain::Rustup(rustup) => {
            let mut command = environment.command(&rustup.cargo, &folder);
            command.arg("--config").arg(rust_flags(&[remap]));
            command
        }
        Toolchain::Debian(parts) => {
            let sysroot = debian::sysroot(parts, environment, progress)?;
            let mut command = environment.command(&parts.cargo, &folder);
            let linker = format!("--wasm-ld-path={}", parts.wasm_ld.display());
            let flags = ["--sysroot".to_owned(), sysroot.display().to_string(), format!("-Clink-arg={linker}"), remap];
            command.arg("--config").arg(rust_flags(&flags));
            command.arg("--config").arg(setting(&format!("target.{TARGET}.linker"), &parts.component_ld));
            command.arg("--config").arg(setting("build.rustc", &parts.rustc));
            command
        }
    };
    command.args(["build", "--release", "--lib", "--target", TARGET, "--message-format=json-render-diagnostics"]);
    let ended = run::run(command, progress)?;
    if !ended.is_success {
        return Err(BuildError::Compile(ended.tail));
    }
    artifact(&ended.answer, &folder.join("Cargo.toml"))?.ok_or(BuildError::NoCdylib(folder))
}

/// The package's cdylib among cargo's messages.
fn artifact(messages: &[u8], manifest: &Path) -> Result<Option<Cdylib>, BuildError> {
    for line in messages.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{")) {
        let json = |source| BuildError::Json { doing: "reading cargo's messages", source };
        let message: Message = serde_json::from_slice(line).map_err(json)?;
        if message.reason != "compiler-artifact"
            || message.manifest_path != manifest
            || !message.target.crate_types.iter().any(|kind| kind == "cdylib")
        {
            continue;
        }
        let wasm = message.filenames.into_iter().find(|path| path.extension().is_some_and(|e| e == "wasm"));
        // `{target}/wasm32-wasip2/release/{name}.wasm`
        if let Some((path, target)) = wasm.and_then(|path| Some((path.clone(), path.ancestors().nth(3)?.to_owned()))) {
            return Ok(Some(Cdylib { path, target_folder: target }));
        }
    }
    Ok(None)
}

fn rust_flags(flags: &[String]) -> String {
    let flags = flags.iter().map(|flag| toml::Value::String(flag.clone())).collect();
    format!("target.{TARGET}.rustflags={}", toml::Value::Array(flags))
}

fn setting(key: &str, path: &Path) -> String {
    format!("{key}={}", toml::Value::String(path.display().to_string()))
}

/// Writes the component with its manifest to `output`, whole or not at all; answers its size.
pub(super) fn finish(cdylib: &Path, manifest: &Manifest, output: &Path) -> Result<u64, BuildError> {
    let mut bytes = std::fs::read(cdylib).map_err(BuildError::io(format!("reading {}", cdylib.display())))?;
    if !bytes.starts_with(&PREAMBLE) {
        return Err(BuildError::NotAComponent { path: cdylib.to_owned() });
    }
    append_manifest(&mut bytes, manifest)?;
    let doing = || BuildError::io(format!("writing {}", output.display()));
    let parent = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).map_err(doing())?;
    let mut file = tempfile::NamedTempFile::new_in(parent).map_err(doing())?;
    file.write_all(&bytes).map_err(doing())?;
    // A temporary file is private; a component is for everybody, as cargo's own output is.
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(readable).map_err(doing())?;
    file.persist(output).map_err(|error| doing()(error.error))?;
    Ok(bytes.len() as u64)
}

/// Appends the custom section: id, size, then the name with its own size, then the JSON.
fn append_manifest(component: &mut Vec<u8>, manifest: &Manifest) -> Result<(), BuildError> {
    let json = |source| BuildError::Json { doing: "writing the manifest", source };
    let json = serde_json::to_vec(manifest).map_err(json)?;
    let mut content = leb128(SECTION.len());
    content.extend_from_slice(SECTION.as_bytes());
    content.extend_from_slice(&json);
    component.push(CUSTOM_SECTION);
    component.extend(leb128(content.len()));
    component.extend(content);
    Ok(())
}

/// A size as WebAssembly writes it: seven bits a byte, the lowest first.
fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest::new("notes".parse().unwrap(), "1.0.0".parse().unwrap())
    }

    #[test]
    fn sizes_are_written_as_the_format_wants() {
        for (number, bytes) in [(0, &[0][..]), (127, &[0x7f]), (128, &[0x80, 1]), (624_485, &[0xe5, 0x8e, 0x26])] {
            assert_eq!(leb128(number), bytes);
        }
    }

    #[test]
    fn the_manifest_ends_the_component() {
        let folder = tempfile::tempdir().unwrap();
        let (cdylib, output) = (folder.path().join("a.wasm"), folder.path().join("out/b.wasm"));
        std::fs::write(&cdylib, PREAMBLE).unwrap();
        let size = finish(&cdylib, &manifest(), &output).unwrap();
        let bytes = std::fs::read(&output).unwrap();
        assert_eq!(size, bytes.len() as u64);
        // Small enough that both sizes take one or two bytes: find the JSON after the name.
        let at = bytes.windows(SECTION.len()).position(|part| part == SECTION.as_bytes()).unwrap() + SECTION.len();
        assert_eq!(Manifest::from_section(&bytes[at..]).unwrap(), manifest());
    }

    #[test]
    fn what_is_no_component_is_refused_and_nothing_written() {
        let folder = tempfile::tempdir().unwrap();
        let (cdylib, output) = (folder.path().join("a.wasm"), folder.path().join("b.wasm"));
        std::fs::write(&cdylib, b"\0asm\x01\0\0\0").unwrap();
        assert!(matches!(finish(&cdylib, &manifest(), &output), Err(BuildError::NotAComponent { .. })));
        assert!(!output.exists());
    }

    #[test]
    fn the_package_s_own_cdylib_is_found() {
        let message = |manifest: &str, kind: &str, file: &str| {
            let target = serde_json::json!({ "crate_types": [kind], "name": "x" });
            let filenames = [format!("/t/wasm32-wasip2/release/{file}")];
            let reason = "compiler-artifact";
            serde_json::json!({ "reason": reason, "manifest_path": manifest, "target": target, "filenames": filenames })
        };
        let lines = [
            message("/dep/Cargo.toml", "cdylib", "dep.wasm"),
            message("/me/Cargo.toml", "lib", "me.rlib"),
            serde_json::json!({ "reason": "build-finished", "success": true }),
            message("/me/Cargo.toml", "cdylib", "me.wasm"),
        ];
        let text = lines.map(|line| line.to_string()).join("\n");
        let found = artifact(text.as_bytes(), Path::new("/me/Cargo.toml")).unwrap().unwrap();
        assert_eq!(found.path, Path::new("/t/wasm32-wasip2/release/me.wasm"));
        assert_eq!(found.target_folder, Path::new("/t"));
        assert!(artifact(text.as_bytes(), Path::new("/other/Cargo.toml")).unwrap().is_none());
    }
}
