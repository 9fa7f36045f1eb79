//! Every limit of a workspace, with its reason.
//!
//! Must never be raised by what a guest or a stored row says.

/// The largest file that a version may have, if its owner wants that: the list of its chunks is one object, however small they are.
pub const FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;

// Of each chunk its length and its name.
const _: () = assert!(FILE_BYTES_MAX / CHUNK_MIN as u64 * (8 + 32) < OBJECT_BYTES_MAX as u64);

/// A larger file is `skipped` unless asked otherwise: it would take a turn's whole time to hash, and is data of another kind than an
/// agent's work.
pub const FILE_BYTES_DEFAULT: u64 = 256 * 1024 * 1024;

/// Folders within each other. Deeper ones are `skipped`; a tree's walk back up is as deep as this.
pub const DEPTH_MAX: usize = 256;

/// Bytes of a path: what one system call takes. Longer ones are `skipped`.
pub const PATH_BYTES_MAX: usize = 4095;

/// Bytes of one name, as every file system here has it.
pub const NAME_BYTES_MAX: usize = 255;

/// Bytes of a symbolic link's target: what the system makes.
pub const LINK_BYTES_MAX: usize = 4096;

/// Dirty paths of one generation; a scan is cheaper beyond.
pub const DIRTY_PATHS_MAX: usize = 100_000;

/// Bytes of the dirty paths of one generation: paths may be long, and an agent's part of the host's memory is small.
pub const DIRTY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of the names of open writers, and of hard links.
pub const FOLLOWED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Open writers and hard links that are followed by number; beyond, every snapshot scans.
pub const FOLLOWED_INODES_MAX: usize = 100_000;

/// A segment is sealed at this length: what a collection rewrites at once, and so the most it needs beside.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// A file up to this is one object; a larger one is a list of chunks.
pub const WHOLE_BYTES: usize = 256 * 1024;

/// Smallest chunk of a large file but its last.
pub const CHUNK_MIN: usize = 16 * 1024;

/// What chunks are on average.
pub const CHUNK_AVERAGE: usize = 64 * 1024;

/// Largest chunk.
pub const CHUNK_MAX: usize = 256 * 1024;

/// Bytes of one stored object: a blob, a chunk, or the list of the chunks of the largest file.
pub const OBJECT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Entries in which two versions may differ: all of the largest workspace, gone and come.
pub const DIFFERENCES_MAX: usize = 2 * FOLDER_ENTRIES_MAX;

/// Entries of one folder: as many as the largest workspace has, so that the list of its parts stays a node.
pub const FOLDER_ENTRIES_MAX: usize = 1 << 20;

/// Bytes of one node of a folder's tree, as it is stored.
pub const TREE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How often a file that changes while it is read is read again before it is stored as it came and called unstable.
pub const READ_TRIES: u32 = 3;

/// Bytes that wait for one write to a segment.
pub const PACK_BUFFER_BYTES: usize = 1024 * 1024;

/// Segments whose files stay open for reading: descriptors are the host's, not an agent's.
pub const OPEN_SEGMENTS_MAX: usize = 4;

/// Descriptors of an open workspace: its two folders, the three files of its database, the segment that is written, and those that
/// are read.
pub const DESCRIPTORS_MAX: usize = 6 + OPEN_SEGMENTS_MAX;

/// Rows of one answer of the history; more are asked for with `after`.
pub const HISTORY_ROWS_MAX: usize = 1000;

/// Bytes of a list in `.chronicle/query/`, which is made as a whole so that its size is known; the newest iterations are in it.
pub const QUERY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Numbers that `.chronicle/at/` lists, the newest: a listing is for looking, and there may be millions.
pub const AT_LISTED_MAX: usize = 1000;

/// Bytes of a file that is shown as a text difference; larger ones are only said to differ.
pub const TEXT_DIFF_BYTES_MAX: usize = 1024 * 1024;

/// Time that one text difference may take before it is made coarser.
pub const TEXT_DIFF_MS: u64 = 500;

/// Bytes of `.chronicleignore`: more than any project has, and read for each version.
pub const IGNORE_BYTES_MAX: usize = 16 * 1024;

/// Lines of it: each is a part of what is matched with every name.
pub const IGNORE_LINES_MAX: usize = 512;

/// Bytes of one of its lines: patterns are of names, and what compiles to more is an attack.
pub const IGNORE_LINE_BYTES_MAX: usize = 512;

/// Time that its patterns may take in one look at the workspace, however they are made: a turn's end waits for it.
pub const IGNORE_MS: u64 = 5_000;

/// The same on the way back to a version, where nobody can be told to write other patterns: many times what they took when they
/// came into it.
pub const IGNORE_BACK_MS: u64 = 60_000;

/// Rounds of removing what stands in the way, each of which another process may undo.
pub const PLACE_TRIES: u32 = 16;

/// Inodes that a mount remembers for the kernel: as many entries as the largest workspace has. Beyond, names are not found.
pub const MOUNT_NODES_MAX: usize = 1 << 20;

/// Names of one inode that a mount remembers; a file with more hard links is found again by its path.
pub(crate) const MOUNT_NAMES_MAX: usize = 16;

/// Folders within each other that are reached through a mount: deeper than versions go, because a tree must be removable that is too deep for them.
pub(crate) const MOUNT_CHAIN_MAX: usize = 16_384;

/// Folders that a mount keeps open, so that most calls open none.
pub(crate) const MOUNT_FOLDERS_MAX: usize = 64;

/// Threads of a mount; what one of them waits for is the disk.
pub(crate) const MOUNT_THREADS_MAX: usize = 4;

/// Descriptors of a mount without the files that are open through it: its folders, and a descriptor of the device for each thread.
pub(crate) const MOUNT_DESCRIPTORS: usize = MOUNT_FOLDERS_MAX + MOUNT_THREADS_MAX + 2;

/// Places of the history that a mount remembers for the kernel, and of which one may be open.
pub(crate) const MOUNT_PAST_MAX: usize = 1 << 16;

/// Names of the history that a listing has in memory.
pub(crate) const MOUNT_LISTED_NAMES: usize = 256;

/// Of the descriptors that files of agents may have, one in so many may be of files that are open through one mount: others have turns.
pub(crate) const MOUNT_FILES_SHARE: usize = 4;

/// Bytes of one read or write through a mount: what the kernel brings at once.
pub(crate) const MOUNT_IO_BYTES: u32 = 1024 * 1024;

/// How long the kernel believes what it was told of a name or a file, while nothing but the mount changes them, milliseconds: nearly all of what
/// longer times save, and a bound for what a person does to the folder behind everybody's back.
pub(crate) const MOUNT_TTL_MS: u64 = 1000;

/// A cut is made of what was written through a mount when nothing was for this long, milliseconds (TURN.md §8).
pub const MOUNT_QUIET_MS: u64 = 1000;

/// And after this long even if it goes on, milliseconds: who writes without rest is not lost either.
pub const MOUNT_BUSY_MS: u64 = 30_000;

/// How long the writers in flight of a mount are waited for, milliseconds. They wait for the disk only.
pub(crate) const MOUNT_DRAIN_MS: u64 = 5000;

/// How large a workspace and its history may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files of the workspace together, holes counted; of what versions leave out, what it takes of the disk.
    pub workspace_bytes: u64,
    /// Files, folders, links and skipped entries of the workspace.
    pub workspace_entries: u64,
    /// Bytes of all their paths: lists of them are held in memory, and a path may have four thousand.
    pub workspace_path_bytes: u64,
    /// Folders within each other that a version has; at most [`DEPTH_MAX`].
    pub depth: usize,
    /// The largest file that a version has, bytes; at most [`FILE_BYTES_MAX`].
    pub file_bytes: u64,
    /// Bytes of the history: its segments and the rows of its database.
    pub store_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        // DESIGN §4; the history is allowed twice the workspace.
        Self {
            workspace_bytes: 1 << 30,
            workspace_entries: 200_000,
            workspace_path_bytes: 64 << 20,
            depth: DEPTH_MAX,
            file_bytes: FILE_BYTES_DEFAULT,
            store_bytes: 2 << 30,
        }
    }
}
