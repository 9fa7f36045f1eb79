//! Everything a guest can import, linked once.
//!
//! WASI 0.2 and 0.3 are linked whole, with clocks, timers, randomness and files of our own. Nothing here grants anything: what a guest has is in its store.

use wasmtime::Engine;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::filesystem::WasiFilesystem;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};
use wasmtime_wasi::{p2, p3};
use wasmtime_wasi_io::bindings::wasi::io;

use crate::bindings::podium::agent;
use crate::guest::{Guest, GuestState};

/// The resource table alone, for `wasi:io`.
struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// Links every interface.
pub(crate) fn build(engine: &Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    podium(&mut linker)?;
    wasi_0_2(&mut linker)?;
    wasi_0_3(&mut linker)?;
    Ok(linker)
}

fn podium(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    agent::types::add_to_linker::<_, Guest>(linker, |state| state)?;
    agent::updates::add_to_linker::<_, Guest>(linker, |state| state)?;
    agent::state::add_to_linker::<_, Guest>(linker, |state| state)?;
    agent::messages::add_to_linker::<_, Guest>(linker, |state| state)?;
    agent::workspace::add_to_linker::<_, Guest>(linker, |state| state)?;
    agent::ask::add_to_linker::<_, Guest>(linker, |state| state)?;
    agent::log::add_to_linker::<_, Guest>(linker, |state| state)?;
    agent::config::add_to_linker::<_, Guest>(linker, |state| state)
}

fn wasi_0_2(l: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    use p2::bindings::{cli, clocks, filesystem, random, sockets};

    io::error::add_to_linker::<_, Table>(l, |state| state.ctx().table)?;
    io::poll::add_to_linker::<_, Table>(l, |state| state.ctx().table)?;
    io::streams::add_to_linker::<_, Table>(l, |state| state.ctx().table)?;

    clocks::wall_clock::add_to_linker::<_, Guest>(l, |state| state)?;
    clocks::monotonic_clock::add_to_linker::<_, Guest>(l, |state| state)?;
    random::random::add_to_linker::<_, Guest>(l, |state| state)?;
    random::insecure::add_to_linker::<_, Guest>(l, |state| state)?;
    random::insecure_seed::add_to_linker::<_, Guest>(l, |state| state)?;
    filesystem::preopens::add_to_linker::<_, Guest>(l, |state| state)?;
    filesystem::types::add_to_linker::<_, WasiFilesystem>(l, GuestState::used_files)?;
    crate::host::p2_files::link(l)?;

    cli::exit::add_to_linker::<_, WasiCli>(l, GuestState::cli)?;
    cli::environment::add_to_linker::<_, WasiCli>(l, GuestState::cli)?;
    cli::stdin::add_to_linker::<_, WasiCli>(l, GuestState::cli)?;
    cli::stdout::add_to_linker::<_, WasiCli>(l, GuestState::cli)?;
    cli::stderr::add_to_linker::<_, WasiCli>(l, GuestState::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(l, GuestState::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(l, GuestState::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(l, GuestState::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(l, GuestState::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(l, GuestState::cli)?;

    sockets::tcp::add_to_linker::<_, WasiSockets>(l, GuestState::sockets)?;
    sockets::udp::add_to_linker::<_, WasiSockets>(l, GuestState::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<_, WasiSockets>(l, GuestState::sockets)?;
    sockets::udp_create_socket::add_to_linker::<_, WasiSockets>(l, GuestState::sockets)?;
    sockets::instance_network::add_to_linker::<_, WasiSockets>(l, GuestState::sockets)?;
    sockets::network::add_to_linker::<_, WasiSockets>(
        l,
        &sockets::network::LinkOptions::default(),
        GuestState::sockets,
    )?;
    sockets::ip_name_lookup::add_to_linker::<_, WasiSockets>(l, GuestState::sockets)
}

fn wasi_0_3(l: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    use p3::bindings::{clocks, random};

    clocks::types::add_to_linker::<_, Guest>(l, |state| state)?;
    clocks::system_clock::add_to_linker::<_, Guest>(l, |state| state)?;
    clocks::monotonic_clock::add_to_linker::<_, Guest>(l, |state| state)?;
    random::random::add_to_linker::<_, Guest>(l, |state| state)?;
    random::insecure::add_to_linker::<_, Guest>(l, |state| state)?;
    random::insecure_seed::add_to_linker::<_, Guest>(l, |state| state)?;
    crate::host::p3_files::link(l)?;
    p3::cli::add_to_linker(l)?;
    p3::sockets::add_to_linker(l)
}
