//! Where the files of an instance are (DESIGN §5). Built from the root and an id only: an id is a valid UUID, so no path
//! can leave its folder. Must never take a name from a client.

use std::path::{Path, PathBuf};

use podium_wire::InstanceId;

/// The folder of all instances.
pub(crate) fn instances(root: &Path) -> PathBuf {
    root.join("instances")
}

/// Where a deleted instance's folder goes before it is removed.
pub(crate) fn deleted(root: &Path) -> PathBuf {
    root.join("deleted")
}

/// The host's own database.
pub(crate) fn host_db(root: &Path) -> PathBuf {
    root.join("host.db")
}

/// The folders and files of one instance.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub(crate) folder: PathBuf,
}

impl Paths {
    pub(crate) fn new(root: &Path, id: InstanceId) -> Self {
        Self { folder: instances(root).join(id.to_string()) }
    }

    pub(crate) fn messages_folder(&self) -> PathBuf {
        self.folder.join("messages")
    }

    pub(crate) fn messages_db(&self) -> PathBuf {
        self.folder.join("messages/messages.db")
    }

    pub(crate) fn state_folder(&self) -> PathBuf {
        self.folder.join("db")
    }

    pub(crate) fn state_db(&self) -> PathBuf {
        self.folder.join("db/state.db")
    }

    pub(crate) fn agent_folder(&self) -> PathBuf {
        self.folder.join("logs")
    }

    pub(crate) fn agent_db(&self) -> PathBuf {
        self.folder.join("logs/agent.db")
    }

    pub(crate) fn chronicle(&self) -> PathBuf {
        self.folder.join("chronicle")
    }
}

/// The name of a database's WAL or shared memory beside it.
pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
