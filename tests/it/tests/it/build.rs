//! `podium build`, `podium doctor` and the guide for a first agent.

use std::path::Path;

use podium_it::{Cli, Data, Host, component, root};
use podium_wire::ErrorCode;

/// A caller whose builds use the toolchain of Debian's packages and this machine's caches.
fn builder(data: &Data) -> Cli {
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
    Cli::new(data).env("HOME", home).env("PODIUM_WASM_TOOLCHAIN", "debian")
}

#[tokio::test]
async fn an_agent_is_built_with_debian_s_toolchain_twice_the_same() {
    let data = Data::new();
    let cli = builder(&data);
    let agent = root().join("agents/hello").display().to_string();
    let mut bytes = Vec::new();
    for name in ["one.wasm", "two.wasm"] {
        let file = data.scratch().join(name);
        let output = cli.run(&["build", &agent, "-o", &file.display().to_string()]).await;
        output.ok();
        bytes.push(std::fs::read(&file).expect("a component"));
    }
    assert!(bytes[0] == bytes[1], "two builds of one source differ");
    let manifest = component::manifest(&bytes[0]);
    assert_eq!(manifest["type"], "hello");
    let host = Host::start().await;
    let answer = host.client().deploy(bytes.remove(0), None, None).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[tokio::test]
async fn a_folder_is_built_and_deployed_in_one_step() {
    let host = Host::start().await;
    let cli = builder(host.data()).url(host.url());
    let agent = root().join("agents/counter").display().to_string();
    let deployed = cli.run(&["deploy", &agent, "--json"]).await.json();
    assert!(deployed["deployment_id"].as_str().is_some_and(|id| id.starts_with("counter:")), "{deployed}");
    let id = cli.run(&["instance", "create", "counter"]).await.ok().trim().to_owned();
    assert_eq!(cli.run(&["chat", &id, "add"]).await.ok().trim(), "1");
}

/// A folder that looks like an agent's, with nothing to compile but its own source.
fn agent(folder: &Path, toml: &str, source: &str) {
    std::fs::create_dir_all(folder.join("src")).expect("a folder");
    std::fs::write(folder.join("agent.toml"), toml).expect("agent.toml");
    let cargo = "[package]\nname = \"story\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
                 [lib]\ncrate-type = [\"cdylib\"]\n[workspace]\n";
    std::fs::write(folder.join("Cargo.toml"), cargo).expect("Cargo.toml");
    std::fs::write(folder.join("src/lib.rs"), source).expect("a source");
}

#[tokio::test]
async fn a_source_that_does_not_compile_says_so() {
    let data = Data::new();
    let folder = data.scratch().join("broken");
    agent(&folder, "type = \"story\"\nversion = \"0.1.0\"\n", "fn broken( {");
    let output = builder(&data).run(&["build", &folder.display().to_string()]).await;
    output.failed(1, ErrorCode::BuildFailed);
    assert!(output.stderr.contains("src/lib.rs"), "the compiler's own words: {output:?}");
}

#[tokio::test]
async fn an_agent_toml_that_is_none_names_its_mistake() {
    let data = Data::new();
    let cases = [
        ("type = \"Story\"\nversion = \"0.1.0\"\n", "type"),
        ("type = \"story\"\nversion = \"1\"\n", "version"),
        ("type = \"story\"\nversion = \"0.1.0\"\ncolour = \"red\"\n", "colour"),
        ("type = \"story\"\nversion = \"0.1.0\"\n[limits]\nmemory = 1\n", "memory"),
        ("type = \n", "agent.toml"),
    ];
    for (number, (toml, named)) in cases.iter().enumerate() {
        let folder = data.scratch().join(format!("bad-{number}"));
        agent(&folder, toml, "");
        let output = builder(&data).run(&["build", &folder.display().to_string()]).await;
        assert_ne!(output.code, 0, "{toml}");
        assert!(output.stderr.contains("POD-") && output.stderr.contains(named), "{toml}: {output:?}");
    }
    let empty = data.scratch().join("empty");
    std::fs::create_dir_all(&empty).expect("a folder");
    let output = builder(&data).run(&["build", &empty.display().to_string()]).await;
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("agent.toml"), "{output:?}");
}

#[tokio::test]
async fn without_a_toolchain_it_says_what_to_install_and_downloads_nothing() {
    let data = Data::new();
    let nothing = data.scratch().join("no-programs");
    std::fs::create_dir_all(&nothing).expect("a folder");
    let cli = Cli::new(&data).env("PATH", nothing.clone()).env("PODIUM_WASM_TOOLCHAIN", "rustup");
    let agent = root().join("agents/hello").display().to_string();
    let output = cli.run(&["build", &agent]).await;
    output.failed(1, ErrorCode::ToolchainMissing);
    assert!(output.stderr.contains("rustup") || output.stderr.contains("doctor"), "{output:?}");
}

#[tokio::test]
async fn the_doctor_says_what_is_there_and_what_is_missing() {
    let data = Data::new();
    let well = builder(&data).run(&["doctor"]).await;
    assert_eq!(well.code, 0, "{well:?}");
    let json = builder(&data).run(&["doctor", "--json"]).await.json();
    assert!(json.is_object() || json.is_array(), "{json}");
    let nothing = data.scratch().join("no-programs");
    std::fs::create_dir_all(&nothing).expect("a folder");
    let ill = Cli::new(&data).env("PATH", nothing).env("PODIUM_WASM_TOOLCHAIN", "rustup").run(&["doctor"]).await;
    assert_ne!(ill.code, 0, "{ill:?}");
    let said = format!("{}{}", ill.stdout, ill.stderr);
    assert!(said.contains("rustup") || said.contains("apt-get"), "no command that mends it: {said}");
}

/// The lines of a document's console blocks.
fn console_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut console = false;
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            console = !console && language.trim() == "console";
        } else if console {
            lines.push(line.strip_prefix("$ ").unwrap_or(line));
        }
    }
    lines
}

#[tokio::test]
async fn the_guide_s_commands_work() {
    let guide = std::fs::read_to_string(root().join("docs/guide/first-agent.md")).expect("the guide");
    let data = Data::new();
    let home = data.scratch();
    // The reader builds the program first; here it is there already, under a name that comes before all others in the
    // path, and it listens on a free port.
    let commands: Vec<&str> = console_lines(&guide)
        .into_iter()
        .filter(|line| !line.starts_with("cargo build") && !line.starts_with("export PATH="))
        .collect();
    assert!(commands.iter().any(|line| line.contains("podium deploy")), "{commands:?}");
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let bin = home.join("bin");
    std::fs::create_dir_all(&bin).expect("a folder");
    let program = podium_it::host::binary().display().to_string();
    let wrapper = format!(
        "#!/bin/sh\nif [ \"$1\" = up ]; then shift; exec {program} up --listen {port} \"$@\"; fi\nexec {program} \"$@\"\n"
    );
    std::fs::write(bin.join("podium"), wrapper).expect("a wrapper");
    std::fs::set_permissions(bin.join("podium"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    let script =
        format!("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{}\n", commands.join("\n"));
    let own = std::env::var("HOME").unwrap_or_else(|_| "/root".into());
    let or = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| format!("{own}/{default}"));
    let mut command = tokio::process::Command::new("timeout");
    command
        .args(["--kill-after=5", "600", "bash", "-c", &script])
        .current_dir(root())
        .stdin(std::process::Stdio::null())
        .env("HOME", &home)
        .env("CARGO_HOME", or("CARGO_HOME", ".cargo"))
        .env("RUSTUP_HOME", or("RUSTUP_HOME", ".rustup"))
        .env("XDG_CACHE_HOME", or("XDG_CACHE_HOME", ".cache"))
        .env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default()))
        .env("PODIUM_URL", format!("http://{port}"))
        .env("PODIUM_WASM_TOOLCHAIN", "debian")
        .env_remove("PODIUM_DATA")
        .env_remove("PODIUM_TOKEN");
    let output = command.output().await.expect("bash runs");
    assert!(
        output.status.success(),
        "{}\n{script}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
