//! Components that keep the compiler busy: it is another process, bounded, and ended when nobody wants its code.
//!
//! docs/security.md names these stories. The component is 60 MB of valid code that takes minutes.

use std::process::Child;

use podium_it::client::Answer;
use podium_it::{Client, Host, PATIENCE, eventually, huge};
use podium_wire::rest::DeploymentPage;
use podium_wire::{ErrorCode, InstanceId};

const BYTES: usize = 60_000_000;

/// The compilers that a process has started and that still run.
fn compilers(host: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| parent(*id) == Some(host) && compiles(*id)).collect()
}

/// True while it runs: what has ended and was not waited for has no command line.
fn compiles(id: u32) -> bool {
    let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == b"compile-component")
}

fn parent(id: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // Behind the name, which may hold anything: state and parent.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

async fn others_are_served(client: &Client, neighbour: InstanceId) {
    for _ in 0..5 {
        assert!(client.reply(neighbour, "are you well").await.contains("are you well"));
        assert_eq!(client.get("/health").await.status, 200);
    }
}

/// Its parent is asked to be this one; a host that ended before the compiler began would never end it.
#[tokio::test]
async fn a_compiler_that_its_host_did_not_outlive_ends_at_once() {
    let cli = podium_it::Cli::new(&podium_it::Data::new());
    for arguments in [["compile-component", "300", "1"].as_slice(), &["compile-component", "300"]] {
        let ended = cli.run(arguments).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
        assert!(!ended.stderr.is_empty(), "{ended:?}");
    }
}

async fn deployed_types(client: &Client) -> Vec<String> {
    let page: DeploymentPage = client.get("/api/v1/deployments").await.with(200);
    page.deployments.iter().map(|deployment| deployment.agent_type.to_string()).collect()
}

/// `podium deploy` of a huge component, from a file of its own.
fn deploy(host: &Host, name: &str, salt: u64) -> Child {
    let file = host.data().scratch().join(format!("{name}.wasm"));
    std::fs::write(&file, huge::component(BYTES, salt)).expect("written");
    let file = file.display().to_string();
    host.cli().start(&["deploy", &file, "--type", name, "--version", "1.0.0"])
}

/// Waits until a command has ended, which it must not have done well.
async fn failed(mut child: Child) {
    let ended = tokio::task::spawn_blocking(move || child.wait());
    let ended = tokio::time::timeout(PATIENCE, ended).await.expect("the command ends").expect("no panic");
    assert!(!ended.as_ref().is_ok_and(std::process::ExitStatus::success), "{ended:?}");
}

async fn begun(host: &Host, count: usize) -> Vec<u32> {
    eventually("the compilers run", async || Some(compilers(host.pid())).filter(|ids| ids.len() == count)).await
}

#[tokio::test]
async fn a_component_that_compiles_for_minutes() {
    let host = Host::start_with(&["--compile-limit", "20"], &[]).await;
    let client = host.client();
    let neighbour = client.deployed_instance("hello").await;
    let sent = async { client.deploy(huge::component(BYTES, 0), Some("huge"), Some("1.0.0")).await };
    let (answer, ()): (Answer, ()) = tokio::join!(sent, async {
        begun(&host, 1).await;
        others_are_served(&client, neighbour).await;
    });
    let error = answer.refused(ErrorCode::CompileLimit);
    assert!(error.message.contains("took "), "{error:?}");
    eventually("the compiler has ended", async || compilers(host.pid()).is_empty().then_some(())).await;
    assert_eq!(deployed_types(&client).await, ["hello"]);
    // The compiler is free for others.
    client.deployed("counter").await;
}

#[tokio::test]
async fn deploys_whose_clients_go_away() {
    let host = Host::start().await;
    let client = host.client();
    let neighbour = client.deployed_instance("hello").await;
    let deploys = [deploy(&host, "huge-one", 1), deploy(&host, "huge-two", 2)];
    begun(&host, 2).await;
    others_are_served(&client, neighbour).await;
    // Both compilers are busy, so that this one waits for them. Ctrl-C ends them.
    let waits = async { client.deployed("counter").await };
    let interrupted = async {
        others_are_served(&client, neighbour).await;
        for child in &deploys {
            podium_it::host::interrupt(child);
        }
    };
    let (waited, ()) = tokio::join!(waits, interrupted);
    assert!(waited.created);
    eventually("the compilers have ended", async || compilers(host.pid()).is_empty().then_some(())).await;
    for child in deploys {
        failed(child).await;
    }
    let mut types = deployed_types(&client).await;
    types.sort();
    assert_eq!(types, ["counter", "hello"]);
    // Nothing of the uploads is left.
    let staged = host.data().path().join("deployments/.staging");
    let left = || std::fs::read_dir(&staged).map_or(0, Iterator::count);
    eventually("the staged files are gone", async || (left() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_killed_host_leaves_no_compiler() {
    let host = Host::start().await;
    let child = deploy(&host, "huge", 3);
    let ids = begun(&host, 1).await;
    let _data = host.kill();
    eventually("the compiler has ended", async || ids.iter().all(|id| !compiles(*id)).then_some(())).await;
    failed(child).await;
}
