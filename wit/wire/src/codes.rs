//! Every error code of Podium with its name, HTTP status, retryability and hint.
//!
//! The only list: servers take the status from here, the CLI the exit code, docs/errors has a page
//! for each (checked by a test). A code is never reused for another meaning.

use std::fmt;
use std::str::FromStr;

macro_rules! codes {
    ($($number:literal $variant:ident $name:literal $status:literal $retry:literal $hint:literal;)*) => {
        /// What went wrong, as a stable number.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $(#[doc = $name] $variant,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the numbers.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The number in `POD-NNNN`.
            pub fn number(self) -> u16 {
                match self { $(ErrorCode::$variant => $number,)* }
            }

            /// Its name in words, `snake_case`.
            pub fn name(self) -> &'static str {
                match self { $(ErrorCode::$variant => $name,)* }
            }

            /// The HTTP status it is answered with.
            pub fn status(self) -> u16 {
                match self { $(ErrorCode::$variant => $status,)* }
            }

            /// True when the same request may succeed later without a change.
            pub fn retryable(self) -> bool {
                match self { $(ErrorCode::$variant => $retry,)* }
            }

            /// What to do, where nothing more exact is known.
            pub fn hint(self) -> &'static str {
                match self { $(ErrorCode::$variant => $hint,)* }
            }
        }
    };
}

codes! {
    // 1xxx: the request itself.
    1001 BadRequest "bad_request" 400 false "Compare the request with the API's description.";
    1002 Unauthorized "unauthorized" 401 false "Send `Authorization: Bearer TOKEN`; `podium token` prints the token.";
    1003 HostNotAllowed "host_not_allowed" 403 false "Call the server by a loopback name: 127.0.0.1, localhost or [::1].";
    1004 OriginNotAllowed "origin_not_allowed" 403 false "A web page of another origin may not call this server.";
    1005 RouteNotFound "route_not_found" 404 false "Check the path and its method.";
    1006 BodyTooLarge "body_too_large" 413 false "Send less in one request.";
    1007 InvalidJson "invalid_json" 400 false "Send valid JSON of the documented shape.";
    1008 BinaryFrame "binary_frame" 400 false "Send text frames: one JSON object each.";
    1009 UnknownFrameType "unknown_frame_type" 400 false "The protocol guide lists the frame types.";
    1010 FrameTooBig "frame_too_big" 413 false "A frame holds at most 1 MiB; put large content into the workspace.";
    1011 MethodNotAllowed "method_not_allowed" 405 false "Check the path and its method.";
    1012 ShuttingDown "shutting_down" 503 true "The server is stopping; connect again in a moment.";
    1013 InvalidMessageId "invalid_message_id" 400 false "Use 1 to 128 printable ASCII characters, or leave the id out.";
    // 2xxx: deployments.
    2001 NotAComponent "not_a_component" 422 false "Deploy a WebAssembly component; `podium build` makes one.";
    2002 CoreModule "core_module" 422 false "This is a core module; build for wasm32-wasip2, or use `podium build`.";
    2003 InvalidComponent "invalid_component" 422 false "The file is damaged or uses unsupported features; build it again.";
    2004 EmptyUpload "empty_upload" 422 false "The upload has no bytes; check the path of the file.";
    2005 ComponentTooLarge "component_too_large" 413 false "A component may have 64 MiB; strip it, or load data at run time from the workspace.";
    2006 UnknownImport "unknown_import" 422 false "Import only what this host offers: podium:agent@0.1.0 and WASI 0.2 or 0.3.";
    2007 WrongWorld "wrong_world" 422 false "Export `podium:agent/lifecycle@0.1.0` as the world `podium:agent/agent` has it; the SDK does this.";
    2008 InvalidAgentType "invalid_agent_type" 422 false "A type is [a-z][a-z0-9-]{0,62}.";
    2009 InvalidVersion "invalid_version" 422 false "A version is SemVer without `+`, such as 1.2.3.";
    2010 VersionExists "version_exists" 409 false "A deployment is immutable; raise the version.";
    2011 InvalidManifest "invalid_manifest" 422 false "Mend agent.toml and build again.";
    2012 DeploymentNotFound "deployment_not_found" 404 false "`podium deployment list` shows what is there.";
    2013 DescribeFailed "describe_failed" 422 false "The component's `describe` must answer quickly and without files, state or network.";
    2014 DeploymentDamaged "deployment_damaged" 500 false "The stored component does not match its digest; deploy the same file again.";
    2015 CompileLimit "compile_limit" 422 false "Make the component smaller: strip it, or split huge functions and data out of it.";
    // 3xxx: instances and their messages.
    3001 InstanceNotFound "instance_not_found" 404 false "`podium instance list` shows what is there.";
    3002 InstanceStopped "instance_stopped" 409 false "Start it: `podium instance start ID`.";
    3003 MessageConflict "message_conflict" 409 false "This id was used for another message; use a new one.";
    3004 InboxFull "inbox_full" 429 true "Wait until the agent has answered some of its messages.";
    3005 MessageNotFound "message_not_found" 404 false "Check the message's id.";
    3006 NotParked "not_parked" 409 false "Only a parked message can be discarded.";
    3007 TurnActive "turn_active" 409 true "Files can be written between turns only; try again when the turn is over.";
    3008 NoActiveTurn "no_active_turn" 409 false "Nothing is running; send a message instead.";
    3009 InitFailed "init_failed" 422 false "The agent refused to start; its log says more.";
    3010 InvalidConfig "invalid_config" 422 false "A configuration is a JSON object of at most 256 KiB.";
    3011 InvalidPath "invalid_path" 400 false "A path is relative, within the workspace, without `..`.";
    3012 FileNotFound "file_not_found" 404 false "`podium files ls ID` shows what is there.";
    3013 FileTooLarge "file_too_large" 413 false "Put the content into several files.";
    3014 InvalidPointer "invalid_pointer" 400 false "A JSON Pointer is empty or starts with `/` (RFC 6901).";
    3015 NotAFile "not_a_file" 409 false "The path is a folder or something else that has no content.";
    3016 AlreadyAnswered "already_answered" 409 false "Only a message whose turn has failed or is parked can be retried.";
    3017 TooManyInstances "too_many_instances" 429 true "Delete instances that are not needed.";
    3018 RevisionConflict "revision_conflict" 409 false "Read the configuration again and repeat the change.";
    3019 Busy "busy" 429 true "The instance has too many requests waiting; try again in a moment.";
    3020 AskResolved "ask_resolved" 409 false "Somebody was first, or it is not wanted any more; `podium instance asks ID` shows what is open.";
    3021 AskNotFound "ask_not_found" 404 false "`podium instance asks ID` shows what is open.";
    3022 InvalidAnswer "invalid_answer" 422 false "Give one of the options, a text where the question takes one, or a decision on a permission.";
    3024 OtherAgentType "other_agent_type" 409 false "An instance keeps its agent type; make a new instance of the other one.";
    3025 NotSteerable "not_steerable" 409 false "The agent has no `on-steer`; send a message, or interrupt the turn.";
    3026 TooManySteers "too_many_steers" 429 true "Wait until the agent has taken in what was said, or interrupt the turn.";
    3031 IterationNotFound "iteration_not_found" 404 false "`podium files history ID PATH` shows what is kept.";
    3032 CutNotFound "cut_not_found" 404 false "`podium instance cuts ID` shows what there is.";
    3033 CutNotKept "cut_not_kept" 409 false "Its files were collected; choose a later cut.";
    3034 InvalidExport "invalid_export" 422 false "Copy the file again, or export the instance again: it is not whole, or was changed.";
    3035 ExportFormat "export_format" 422 false "The file is of another version of Podium; import it there, or with the version that wrote it.";
    3036 ComponentMissing "component_missing" 422 false "Deploy the component that the message names, or export without `--without-component`.";
    3037 ExportTooLarge "export_too_large" 413 false "Import takes no more; remove files or start a new conversation, and export that.";
    3040 AlreadyMounted "already_mounted" 409 false "Use the folder where it is mounted, or unmount it there: `podium mount --unmount ID`.";
    3041 NotMounted "not_mounted" 404 false "Mount it: `podium mount ID`.";
    3042 InvalidMountDir "invalid_mount_dir" 422 false "Name an empty folder of the host's machine, outside the host's data folder.";
    3043 MountUnavailable "mount_unavailable" 501 false "A mount needs /dev/fuse, and root or the program `fusermount3` (Debian's fuse3); `podium doctor` says what is missing.";
    3044 MountBusy "mount_busy" 503 true "A call on the mount hangs; end the process that makes it, or unmount.";
    // 4xxx: how a turn ended.
    4001 GuestTrap "guest_trap" 500 false "The agent crashed; its log has the trace.";
    4002 GuestError "guest_error" 500 false "The agent answered with an error.";
    4003 MemoryLimit "memory_limit" 500 false "Raise `limits.memory_bytes` in agent.toml, or use less.";
    4004 CpuLimit "cpu_limit" 500 false "Raise `limits.cpu_ms` in agent.toml, or do less in a turn.";
    4005 WallLimit "wall_limit" 500 false "Raise `limits.wall_ms` in agent.toml, or do less in a turn.";
    4006 OutputLimit "output_limit" 500 false "Raise `limits.output_bytes` in agent.toml, or write long output to files.";
    4007 UpdatesLimit "updates_limit" 500 false "Raise `limits.updates` in agent.toml, or emit larger pieces.";
    4008 Interrupted "interrupted" 500 false "Somebody ended the turn; send the message again if it is still wanted.";
    4009 Discarded "discarded" 500 false "Somebody discarded the message.";
    4010 PatchRejected "patch_rejected" 422 false "The message names the operation; nothing was changed.";
    4011 StateLimit "state_limit" 422 false "Raise `limits.state_bytes` in agent.toml, or keep large data in files.";
    4012 Parked "parked" 500 false "`podium instance retry` runs it again, `discard` gives it up.";
    4013 ConfigRefused "config_refused" 422 false "The agent refused the new configuration; the old one stays.";
    4014 HandleLimit "handle_limit" 500 false "Raise `limits.open_handles` in agent.toml, or close files.";
    4015 TableLimit "table_limit" 500 false "The agent holds too many host resources; drop what is not needed.";
    4016 GuestStuck "guest_stuck" 500 false "The agent waits for something that can never come.";
    4017 InvalidElement "invalid_element" 422 false "Check the element's names and JSON texts.";
    4018 WaitLimit "wait_limit" 500 false "Raise `limits.wait_ms` in agent.toml.";
    4019 TooManyCalls "too_many_calls" 422 true "Await some of the calls in flight first.";
    4020 HostCallLimit "host_call_limit" 500 false "Pass less in one call; write long output to files.";
    4021 InvalidAsk "invalid_ask" 422 false "Shorten it, and give each option a label of its own.";
    4024 MigrationFailed "migration_failed" 422 false "The old version stays in force and answers; mend `migrate` and upgrade again.";
    4025 WorkspaceLimit "workspace_limit" 422 false "Remove files that are not needed; the message names the limit.";
    4030 ReplayDiverged "replay_diverged" 500 false "`podium instance retry` runs the message again from its cut, `discard` gives it up.";
    4031 OutcomeUnknown "outcome_unknown" 500 false "Look whether it was done before it is done again.";
    // 5xxx: the host.
    5001 StorageFull "storage_full" 507 true "Free space in the data folder.";
    5002 StorageReadOnly "storage_read_only" 503 true "Make the data folder writable.";
    5003 StorageFailed "storage_failed" 500 true "The server's log says more.";
    5004 DataFolderInUse "data_folder_in_use" 503 true "Another host runs on this folder; use `--data` for a second one.";
    5005 Internal "internal" 500 true "The server's log says more.";
    5006 ListenRefused "listen_refused" 500 false "Listen on a loopback address and a free port; port 0 takes one.";
    5007 InstanceDamaged "instance_damaged" 500 false "The instance's files do not fit together; restore them from a backup.";
    5008 TooManyConnections "too_many_connections" 503 true "Close connections, or raise the limit of descriptors: `podium doctor` says how far.";
    5011 ContentDamaged "content_damaged" 500 false "Other files and other versions can be read; `podium files history ID PATH` lists those of the path.";
    // 6xxx: the CLI's own.
    6001 Unreachable "unreachable" 503 true "Start a host with `podium up`, or point `--url` at one.";
    6002 ToolchainMissing "toolchain_missing" 500 false "`podium doctor` says what to install.";
    6003 BuildFailed "build_failed" 500 false "Mend what the compiler reports and build again.";
    6004 ConnectionLost "connection_lost" 503 true "The server went away; the message is kept if it was acknowledged.";
    6005 Usage "usage" 400 false "`--help` shows the usage.";
    6006 FolderExists "folder_exists" 409 false "Take another name, or another folder with `--dir`.";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "POD-{:04}", self.number())
    }
}

impl FromStr for ErrorCode {
    type Err = crate::ids::InvalidId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|code| code.to_string() == text).ok_or_else(|| crate::ids::InvalidId {
            value: text.chars().take(80).collect(),
            expected: "an error code: POD-NNNN",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_rising() {
        assert!(ErrorCode::ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
        let names: std::collections::BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), ErrorCode::ALL.len());
    }

    #[test]
    fn text_goes_round() {
        for code in ErrorCode::ALL {
            assert_eq!(code.to_string().parse::<ErrorCode>().ok(), Some(*code));
        }
        assert!("POD-9999".parse::<ErrorCode>().is_err());
    }
}
