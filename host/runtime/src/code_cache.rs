//! The cache of compiled code: native code that this host itself wrote, and nothing else.
//!
//! An entry is a file of code and a file with its keyed hash. It is mapped only after its descriptor was opened
//! without following links, its owner and mode were checked and its bytes were hashed; whatever does not fit is
//! compiled again. Must never let a stale, damaged or foreign file run.

use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use podium_kit::Randomness;
use podium_wire::Digest;
use rustix::fs::{Mode, OFlags};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Entries that are kept; beyond it the oldest go. A Python component's code has 42 MB.
const ENTRIES_MAX: usize = 256;
const KEY_FILE: &str = "key";
const CODE_SUFFIX: &str = ".code";
const MAC_SUFFIX: &str = ".mac";
const STAGED_SUFFIX: &str = ".new";

/// The cache's folder or an entry cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The system refused.
    #[error("the compiled-code cache cannot use {path}: {source}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not ours alone.
    #[error("{path} of the compiled-code cache must belong to this user with mode {expected:o}, without links")]
    NotOurs {
        /// What.
        path: PathBuf,
        /// The mode it must have.
        expected: u32,
    },
}

/// Why an entry was not taken. None of it is an error: the code is compiled again.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    Absent,
    NotOurs,
    Damaged,
    Stale,
}

/// The open cache.
#[derive(Debug)]
pub(crate) struct CodeCache {
    folder: PathBuf,
    key: [u8; 32],
    random: Randomness,
}

impl CodeCache {
    /// Opens the folder, making it and its key at first use.
    pub(crate) fn open(folder: &Path, random: &Randomness) -> Result<Self, CacheError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| CacheError::Io { path, source }
        };
        podium_kit::data::create_private_dir(folder).map_err(failed(folder))?;
        let meta = std::fs::symlink_metadata(folder).map_err(failed(folder))?;
        if !meta.is_dir() || !is_ours(&meta, 0o700) {
            return Err(CacheError::NotOurs { path: folder.to_owned(), expected: 0o700 });
        }
        let mut cache = Self { folder: folder.to_owned(), key: [0; 32], random: random.clone() };
        let path = folder.join(KEY_FILE);
        cache.key = match cache.read_key() {
            Ok(key) => key,
            Err(Refused::NotOurs) => return Err(CacheError::NotOurs { path, expected: 0o600 }),
            Err(_) => {
                // A new key makes every old entry foreign, which is what a lost key asks for.
                let key = cache.random.bytes32();
                cache.write(KEY_FILE, &mut key.as_slice()).map_err(failed(&path))?;
                key
            }
        };
        cache.remove_staged();
        cache.prune();
        Ok(cache)
    }

    fn read_key(&self) -> Result<[u8; 32], Refused> {
        let mut key = [0; 32];
        let mut file = self.open_ours(KEY_FILE)?;
        file.read_exact(&mut key).map_err(|_| Refused::Damaged)?;
        Ok(key)
    }

    /// The name of an entry: the component and everything about the engine that its code depends on.
    fn name(engine: &Engine, digest: &Digest) -> String {
        struct Blake(blake3::Hasher);
        impl Hasher for Blake {
            fn write(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }
            fn finish(&self) -> u64 {
                0
            }
        }
        let mut hasher = Blake(blake3::Hasher::new());
        hasher.0.update(digest.as_bytes());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.0.finalize().to_hex().to_string()
    }

    /// Maps the code of a component, if there is any that can be trusted.
    pub(crate) fn get(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        match self.map(engine, &Self::name(engine, digest)) {
            Ok(component) => Some(component),
            Err(Refused::Absent) => None,
            Err(refused) => {
                tracing::warn!(%digest, ?refused, "compiled code is not used and will be made again");
                None
            }
        }
    }

    fn map(&self, engine: &Engine, name: &str) -> Result<Component, Refused> {
        let code = self.open_ours(&format!("{name}{CODE_SUFFIX}"))?;
        let mut expected = [0; 32];
        let mut mac = self.open_ours(&format!("{name}{MAC_SUFFIX}"))?;
        mac.read_exact(&mut expected).map_err(|_| Refused::Damaged)?;
        let hash = blake3::Hasher::new_keyed(&self.key).update_reader(&code).map_err(|_| Refused::Damaged)?.finalize();
        // Compares in constant time.
        if hash != blake3::Hash::from_bytes(expected) {
            return Err(Refused::Damaged);
        }
        // The path leads to the descriptor that was hashed, not to whatever has its name by now.
        let path = format!("/proc/self/fd/{}", code.as_raw_fd());
        #[expect(unsafe_code, reason = "the engine maps native code")]
        // SAFETY: the file is this user's own with mode 0600 in a folder with mode 0700, and its bytes are
        // those that this host wrote: the hash over this very descriptor is keyed with a secret of the folder.
        // The engine refuses code of another version or configuration itself.
        let component = unsafe { Component::deserialize_file(engine, path) };
        component.map_err(|_| Refused::Stale)
    }

    /// Opens a file of the cache, if it is a plain file of ours.
    fn open_ours(&self, name: &str) -> Result<File, Refused> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::open(self.folder.join(name), flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Err(Refused::Absent),
            Err(_) => return Err(Refused::NotOurs),
        };
        let meta = file.metadata().map_err(|_| Refused::NotOurs)?;
        if meta.is_file() && is_ours(&meta, 0o600) { Ok(file) } else { Err(Refused::NotOurs) }
    }

    /// Compiles a component, keeps the code and maps it. What cannot be kept is run from memory.
    pub(crate) fn compile(&self, engine: &Engine, digest: &Digest, bytes: &[u8]) -> wasmtime::Result<Component> {
        self.keep(engine, digest, io::Cursor::new(engine.precompile_component(bytes)?))
    }

    /// Keeps code that this host's compiler has made just now, given from its beginning, and maps it. What cannot be kept
    /// is run from memory.
    pub(crate) fn keep(
        &self,
        engine: &Engine,
        digest: &Digest,
        mut code: impl Read + Seek,
    ) -> wasmtime::Result<Component> {
        let name = Self::name(engine, digest);
        match self.write_entry(&name, &mut code) {
            Ok(()) => {
                self.prune();
                if let Ok(component) = self.map(engine, &name) {
                    return Ok(component);
                }
            }
            Err(error) => tracing::warn!(%digest, %error, "compiled code cannot be kept"),
        }
        let mut bytes = Vec::new();
        code.rewind()?;
        code.read_to_end(&mut bytes)?;
        let code = bytes;
        #[expect(unsafe_code, reason = "the engine takes native code")]
        // SAFETY: these bytes were made a moment ago by this engine, in this process or in the one that this host called
        // for it, and never were where another could change them.
        let component = unsafe { Component::deserialize(engine, &code) };
        component
    }

    /// Writes an entry: the hash first, so that there is never code without one.
    fn write_entry(&self, name: &str, code: &mut (impl Read + Seek)) -> io::Result<()> {
        let mac = blake3::Hasher::new_keyed(&self.key).update_reader(&mut *code)?.finalize();
        code.rewind()?;
        self.write(&format!("{name}{MAC_SUFFIX}"), &mut mac.as_bytes().as_slice())?;
        self.write(&format!("{name}{CODE_SUFFIX}"), code)
    }

    /// Writes a file beside its place, flushes it and moves it there.
    fn write(&self, name: &str, bytes: &mut impl Read) -> io::Result<()> {
        let mut random = [0; 8];
        self.random.fill(&mut random);
        let staged = self.folder.join(format!("{name}.{:016x}{STAGED_SUFFIX}", u64::from_le_bytes(random)));
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut write = || -> io::Result<()> {
            let mut file = File::from(rustix::fs::open(&staged, flags, Mode::RUSR | Mode::WUSR)?);
            io::copy(bytes, &mut file)?;
            file.sync_all()?;
            std::fs::rename(&staged, self.folder.join(name))?;
            File::open(&self.folder)?.sync_all()
        };
        write().inspect_err(|_| {
            // What is left of it is removed at the next start, if not now.
            let _ = std::fs::remove_file(&staged);
        })
    }

    /// Removes what a crash left. Only at open: later a staged file may be one that another compilation is writing.
    fn remove_staged(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.ends_with(STAGED_SUFFIX)) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Removes the oldest entries beyond the bound. Mapped code stays valid without its name.
    fn prune(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        let mut code: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let modified = entry.metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            if name.ends_with(CODE_SUFFIX) {
                code.push((modified, path));
            }
        }
        code.sort();
        let surplus = code.len().saturating_sub(ENTRIES_MAX);
        for (_, path) in code.into_iter().take(surplus) {
            let _ = std::fs::remove_file(path.with_extension("mac"));
            let _ = std::fs::remove_file(path);
        }
    }
}

fn is_ours(meta: &std::fs::Metadata, mode: u32) -> bool {
    meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o7777 == mode
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Fixture {
        _folder: tempfile::TempDir,
        path: PathBuf,
        engine: Engine,
        cache: CodeCache,
        digest: Digest,
    }

    /// The smallest component: nothing in it.
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("makes");
            let path = folder.path().join("code");
            let engine = Engine::default();
            let cache = CodeCache::open(&path, &Randomness::system()).expect("opens");
            Self { _folder: folder, path, engine, cache, digest: Digest::from_bytes([1; 32]) }
        }

        fn file(&self, suffix: &str) -> PathBuf {
            self.path.join(format!("{}{suffix}", CodeCache::name(&self.engine, &self.digest)))
        }

        fn map(&self) -> Result<(), Refused> {
            self.cache.map(&self.engine, &CodeCache::name(&self.engine, &self.digest)).map(drop)
        }

        /// Compiles, spoils, and expects the entry to be refused and then made again.
        fn check(&self, expected: Refused, spoil: impl FnOnce(&Path, &Path)) {
            self.cache.compile(&self.engine, &self.digest, COMPONENT).expect("compiles");
            assert_eq!(self.map(), Ok(()));
            spoil(&self.file(CODE_SUFFIX), &self.file(MAC_SUFFIX));
            assert_eq!(self.map(), Err(expected));
            assert!(self.cache.get(&self.engine, &self.digest).is_none());
            self.cache.compile(&self.engine, &self.digest, COMPONENT).expect("compiles");
            assert!(self.cache.get(&self.engine, &self.digest).is_some(), "made again");
        }
    }

    #[test]
    fn what_is_compiled_is_found_by_the_next_process() {
        let fixture = Fixture::new();
        assert_eq!(fixture.map(), Err(Refused::Absent));
        fixture.cache.compile(&fixture.engine, &fixture.digest, COMPONENT).expect("compiles");
        let mode = |path: &Path| std::fs::metadata(path).expect("is there").permissions().mode() & 0o7777;
        assert_eq!(mode(&fixture.path), 0o700);
        assert_eq!(mode(&fixture.file(CODE_SUFFIX)), 0o600);
        assert_eq!(mode(&fixture.path.join(KEY_FILE)), 0o600);
        let next = CodeCache::open(&fixture.path, &Randomness::system()).expect("opens");
        assert!(next.get(&fixture.engine, &fixture.digest).is_some());
        assert!(next.get(&fixture.engine, &Digest::from_bytes([2; 32])).is_none());
    }

    #[test]
    fn damaged_code_is_refused() {
        Fixture::new().check(Refused::Damaged, |code, _| {
            let mut bytes = std::fs::read(code).expect("reads");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(code, bytes).expect("writes");
        });
        Fixture::new().check(Refused::Damaged, |code, _| {
            let file = File::options().write(true).open(code).expect("opens");
            file.set_len(100).expect("cuts");
        });
        Fixture::new().check(Refused::Damaged, |_, mac| std::fs::write(mac, [0; 32]).expect("writes"));
        Fixture::new().check(Refused::Damaged, |_, mac| std::fs::write(mac, [0; 5]).expect("writes"));
    }

    #[test]
    fn foreign_code_is_refused() {
        // Code with a hash that is right, but of another key.
        let other = Fixture::new();
        other.cache.compile(&other.engine, &other.digest, COMPONENT).expect("compiles");
        Fixture::new().check(Refused::Damaged, |code, mac| {
            std::fs::copy(other.file(CODE_SUFFIX), code).expect("copies");
            std::fs::copy(other.file(MAC_SUFFIX), mac).expect("copies");
        });
        Fixture::new().check(Refused::NotOurs, |code, _| {
            std::fs::set_permissions(code, PermissionsExt::from_mode(0o620)).expect("sets");
        });
        Fixture::new().check(Refused::NotOurs, |code, _| {
            let aside = code.with_extension("aside");
            std::fs::rename(code, &aside).expect("moves");
            std::os::unix::fs::symlink(aside, code).expect("links");
        });
        Fixture::new().check(Refused::Absent, |_, mac| std::fs::remove_file(mac).expect("removes"));
    }

    #[test]
    fn stale_code_is_refused_although_its_hash_is_right() {
        // Code of an engine with another configuration, under the name and key of this one.
        let fixture = Fixture::new();
        let other = Engine::new(wasmtime::Config::new().epoch_interruption(true)).expect("makes");
        let code = other.precompile_component(COMPONENT).expect("compiles");
        fixture.check(Refused::Stale, |code_file, mac_file| {
            let mac = blake3::keyed_hash(&fixture.cache.key, &code);
            std::fs::write(code_file, &code).expect("writes");
            std::fs::write(mac_file, mac.as_bytes()).expect("writes");
        });
    }

    #[test]
    fn a_folder_or_key_that_others_can_write_is_refused() {
        let fixture = Fixture::new();
        let set = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("sets");
        set(&fixture.path.join(KEY_FILE), 0o644);
        assert!(matches!(
            CodeCache::open(&fixture.path, &Randomness::system()),
            Err(CacheError::NotOurs { expected: 0o600, .. })
        ));
        set(&fixture.path, 0o755);
        assert!(matches!(
            CodeCache::open(&fixture.path, &Randomness::system()),
            Err(CacheError::NotOurs { expected: 0o700, .. })
        ));
    }

    #[test]
    fn what_a_crash_left_is_removed_and_what_is_being_written_is_not() {
        let fixture = Fixture::new();
        let left = fixture.path.join(format!("x.0{STAGED_SUFFIX}"));
        std::fs::write(&left, b"half").expect("writes");
        // Another compilation ends while that one is written.
        fixture.cache.compile(&fixture.engine, &fixture.digest, COMPONENT).expect("compiles");
        assert!(left.exists());
        CodeCache::open(&fixture.path, &Randomness::system()).expect("opens");
        assert!(!left.exists());
    }
}
