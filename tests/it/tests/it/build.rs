//! `podium build`, `podium doctor` and the guide for a first agent.

use std::path::Path;

use podium_it::{Cli, Data, Host, component, guide, root};
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

#[tokio::test]
async fn progress_is_shown_on_a_terminal_only() {
    let data = Data::new();
    let cli = builder(&data);
    let agent = root().join("agents/hello").display().to_string();
    let file = data.scratch().join("hello.wasm").display().to_string();
    let shown = cli.on_terminal(&["build", &agent, "-o", &file]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.contains("building") && shown.stdout.contains('\r'), "{shown:?}");
    let piped = cli.run(&["build", &agent, "-o", &file]).await;
    piped.ok();
    assert!(!piped.stdout.contains("building") && !piped.stderr.contains('\r'), "{piped:?}");
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
    let checks = json["checks"].as_array().expect("checks");
    let names: Vec<&str> = checks.iter().map(|check| check["name"].as_str().expect("a name")).collect();
    let bounds = ["descriptors", "memory mappings", "address space", "memory", "threads", "processors"];
    assert_eq!(names, [["build", "data folder"].as_slice(), &bounds, &["mounts"]].concat());
    for check in checks {
        let (name, detail) = (check["name"].as_str().expect("a name"), check["detail"].as_str().expect("a detail"));
        assert!(["ok", "advice"].contains(&check["result"].as_str().expect("a result")), "{check}");
        assert!(!bounds.contains(&name) || detail.contains(|letter: char| letter.is_ascii_digit()), "{check}");
        assert!(check["result"] == "ok" || !check["mend"][0].as_str().expect("a step").is_empty(), "{check}");
    }
    let nothing = data.scratch().join("no-programs");
    std::fs::create_dir_all(&nothing).expect("a folder");
    let ill = Cli::new(&data).env("PATH", nothing).env("PODIUM_WASM_TOOLCHAIN", "rustup").run(&["doctor"]).await;
    assert_ne!(ill.code, 0, "{ill:?}");
    let said = format!("{}{}", ill.stdout, ill.stderr);
    assert!(said.contains("rustup") || said.contains("apt-get"), "no command that mends it: {said}");
}

#[tokio::test]
async fn the_guide_s_commands_work() {
    let text = std::fs::read_to_string(root().join("docs/guide/first-agent.md")).expect("the guide");
    // The reader builds the program first; here it is there already.
    let commands: Vec<&str> = guide::console_lines(&text)
        .into_iter()
        .filter(|line| !line.starts_with("cargo build") && !line.starts_with("export PATH="))
        .collect();
    assert!(commands.iter().any(|line| line.contains("podium deploy")), "{commands:?}");
    guide::follow(&Data::new(), root(), &commands).await;
}
