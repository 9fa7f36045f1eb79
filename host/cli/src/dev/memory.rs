//! What `podium dev` remembers of a folder: its instance on each server, in `.podium/dev.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use podium_wire::InstanceId;
use serde::{Deserialize, Serialize};

use crate::exit::{Failure, storage_code};

/// The key of the folder's own host, whose port is another one each time.
pub(super) const OWN_HOST: &str = "own";

const NAME: &str = "dev.json";

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    #[serde(default)]
    instances: BTreeMap<String, InstanceId>,
}

/// The memory, seen from one server.
#[derive(Debug)]
pub(super) struct Memory {
    home: PathBuf,
    key: String,
    file: File,
}

impl Memory {
    /// Reads it. What cannot be read is forgotten: the worst is a new instance.
    pub(super) fn read(home: &Path, key: &str) -> Self {
        let text = std::fs::read_to_string(home.join(NAME)).unwrap_or_default();
        let file = serde_json::from_str(&text).unwrap_or_default();
        Self { home: home.to_owned(), key: key.to_owned(), file }
    }

    /// The instance of last time.
    pub(super) fn instance(&self) -> Option<InstanceId> {
        self.file.instances.get(&self.key).copied()
    }

    /// The data folder of the own host, where its token is; none on another server.
    pub(super) fn data(&self) -> Option<PathBuf> {
        (self.key == OWN_HOST).then(|| self.home.join("data"))
    }

    /// Keeps an instance for the next time.
    pub(super) fn remember(&mut self, id: InstanceId) -> Result<(), Failure> {
        self.file.instances.insert(self.key.clone(), id);
        let path = self.home.join(NAME);
        let failed = |error: std::io::Error| {
            Failure::new(storage_code(&error), format!("cannot write {}: {error}", path.display()))
        };
        let mut file = tempfile::NamedTempFile::new_in(&self.home).map_err(failed)?;
        serde_json::to_writer_pretty(&mut file, &self.file).map_err(|error| failed(error.into()))?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_has_its_instance_and_damage_is_forgotten() {
        let home = tempfile::tempdir().expect("a folder");
        let id = |n: u8| format!("0198c0de-0000-7000-8000-00000000000{n}").parse::<InstanceId>().expect("an id");
        Memory::read(home.path(), OWN_HOST).remember(id(1)).expect("written");
        Memory::read(home.path(), "http://127.0.0.1:1").remember(id(2)).expect("written");
        assert_eq!(Memory::read(home.path(), OWN_HOST).instance(), Some(id(1)));
        assert_eq!(Memory::read(home.path(), "http://127.0.0.1:1").instance(), Some(id(2)));
        assert_eq!(Memory::read(home.path(), "http://127.0.0.1:2").instance(), None);
        std::fs::write(home.path().join(NAME), "{").expect("written");
        assert_eq!(Memory::read(home.path(), OWN_HOST).instance(), None);
    }
}
