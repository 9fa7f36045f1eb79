//! The stories: one for every sentence that a user may rely on, through the real `podium` binary.
//!
//! One module a theme. Stories talk to hosts of their own over HTTP, WebSockets and the command line, and read an
//! instance's databases where the promise is about the disk. No part of the host is linked or faked.

mod asks;
mod authors;
mod bad_uploads;
mod build;
mod chat_ws;
mod chronicle;
mod cli;
mod compiling;
mod config;
mod crash;
mod crash_people;
mod data_folder;
mod density;
mod deploy;
mod dev;
mod dev_terminal;
mod durable;
mod files;
mod fork;
mod fresh_and_warm;
mod history;
mod host_crash;
mod host_log;
mod host_stop;
mod hostile;
mod hostile_files;
mod http_edges;
mod instances;
mod invariants;
mod logs;
mod mount;
mod one_cut;
mod owners;
mod park_retry_discard;
mod portable;
mod resume;
mod rewind;
mod seeing;
mod steer;
mod traces;
mod transfers;
mod turn_outcomes;
mod upgrade;
mod warm;
mod workspace;
