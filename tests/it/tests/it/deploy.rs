//! Deployments: ids, immutability, listing, what an agent may do, survival of a restart.

use podium_it::{Host, agents, component};
use podium_wire::ErrorCode;
use podium_wire::rest::{Deployed, Deployment, DeploymentPage};
use serde_json::json;

#[tokio::test]
async fn a_component_is_deployed_once_and_the_same_bytes_again_are_the_same() {
    let host = Host::start().await;
    let client = host.client();
    let bytes = agents::component("counter");
    let first: Deployed = client.deploy(bytes.clone(), None, None).await.with(201);
    assert!(first.created);
    let deployment = &first.deployment;
    assert_eq!(deployment.agent_type.as_str(), "counter");
    assert_eq!(deployment.size_bytes, bytes.len() as u64);
    let id = deployment.deployment_id.to_string();
    assert_eq!(id, format!("counter:{}@{}", deployment.version, deployment.checksum.short()));
    let again: Deployed = client.deploy(bytes, None, None).await.with(200);
    assert!(!again.created);
    assert_eq!(again.deployment, first.deployment);
    let page: DeploymentPage = client.get("/api/v1/deployments").await.with(200);
    assert_eq!(page.deployments, std::slice::from_ref(&first.deployment));
    for reference in [id.as_str(), "counter", &format!("counter:{}", deployment.version)] {
        let shown: Deployment = client.get(&format!("/api/v1/deployments/{reference}")).await.with(200);
        assert_eq!(shown, first.deployment, "{reference}");
    }
}

#[tokio::test]
async fn the_digest_in_the_id_covers_the_uploaded_bytes() {
    let host = Host::start().await;
    let bytes = agents::component("hello");
    let file = host.data().scratch().join("hello.wasm");
    std::fs::write(&file, &bytes).expect("a file");
    let deployed: Deployed = host.client().deploy(bytes, None, None).await.with(201);
    let sum = std::process::Command::new("sha256sum").arg(&file).output().expect("sha256sum runs");
    let sum = String::from_utf8_lossy(&sum.stdout).into_owned();
    assert_eq!(sum.split(' ').next(), Some(deployed.deployment.checksum.to_string().as_str()));
}

#[tokio::test]
async fn a_version_never_changes_its_bytes() {
    let host = Host::start().await;
    let client = host.client();
    let bytes = agents::component("hello");
    let first: Deployed = client.deploy(bytes.clone(), None, None).await.with(201);
    let error = client.deploy(component::other_bytes(&bytes), None, None).await.refused(ErrorCode::VersionExists);
    assert!(error.message.contains("hello"), "{error:?}");
    let shown: Deployment = client.get("/api/v1/deployments/hello").await.with(200);
    assert_eq!(shown, first.deployment);
    let other: Deployed = client.deploy(component::other_bytes(&bytes), None, Some("99.0.0")).await.with(201);
    assert_ne!(other.deployment.checksum, first.deployment.checksum);
}

#[tokio::test]
async fn a_bare_type_is_its_highest_release_else_its_highest_pre_release() {
    let host = Host::start().await;
    let client = host.client();
    let bytes = agents::component("hello");
    let resolved = async |reference: &str| -> String {
        let shown: Deployment = client.get(&format!("/api/v1/deployments/{reference}")).await.with(200);
        shown.version.to_string()
    };
    for version in ["2.0.0-rc.2", "2.0.0-rc.10"] {
        let _: Deployed = client.deploy(bytes.clone(), Some("greeter"), Some(version)).await.with(201);
    }
    assert_eq!(resolved("greeter").await, "2.0.0-rc.10");
    for version in ["1.10.0", "1.9.0"] {
        let _: Deployed = client.deploy(bytes.clone(), Some("greeter"), Some(version)).await.with(201);
    }
    assert_eq!(resolved("greeter").await, "1.10.0");
    assert_eq!(resolved("greeter:2.0.0-rc.2").await, "2.0.0-rc.2");
    client.get("/api/v1/deployments/greeter:3.0.0").await.refused(ErrorCode::DeploymentNotFound);
    client.get("/api/v1/deployments/greeter:1.9.0@00000000").await.refused(ErrorCode::DeploymentNotFound);
    client.get("/api/v1/deployments/nobody").await.refused(ErrorCode::DeploymentNotFound);
}

#[tokio::test]
async fn what_is_imported_is_shown_as_capabilities() {
    let host = Host::start().await;
    let client = host.client();
    let probe = client.deployed("probe").await.deployment;
    for capability in ["updates", "state", "files", "clock", "random"] {
        assert!(probe.capabilities.iter().any(|name| name == capability), "{capability}: {:?}", probe.capabilities);
    }
    assert!(probe.capabilities.is_sorted());
    assert!(!probe.capabilities.iter().any(|name| name.contains(':') || name == "network"), "{:?}", probe.capabilities);
    let hooks = json!(probe.description.hooks);
    assert!(hooks.as_array().expect("hooks").contains(&json!("on-init")), "{hooks}");
    assert!(probe.description.config_schema.is_some());
}

#[tokio::test]
async fn deployments_survive_a_crash_of_the_host() {
    let host = Host::start().await;
    let before = host.client().deployed("hello").await;
    let host = host.crash().await;
    let page: DeploymentPage = host.client().get("/api/v1/deployments").await.with(200);
    assert_eq!(page.deployments, [before.deployment]);
    let id = host.client().instance("hello").await;
    assert!(host.client().reply(id, "again").await.contains("again"));
}

#[tokio::test]
async fn a_damaged_component_is_never_run() {
    let host = Host::start().await;
    let deployed = host.client().deployed("hello").await.deployment;
    let id = host.client().instance("hello").await;
    let data = host.kill();
    let version = deployed.version.to_string();
    let stored = data.path().join(format!("deployments/hello/{version}/hello-{version}.wasm"));
    let mut bytes = std::fs::read(&stored).expect("the stored component");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&stored, &bytes).expect("the damage");
    // Its compiled form would hide the damage.
    std::fs::remove_dir_all(data.path().join("cache")).expect("the cache goes");
    let host = Host::start_on(&data).await;
    let body = json!({"content": {"text": "hi"}});
    let answer = host.client().post_json(&format!("/api/v1/instances/{id}/messages?wait=30s"), &body).await;
    answer.refused(ErrorCode::DeploymentDamaged);
    // The same file again mends it.
    host.client().deployed("hello").await;
    assert!(host.client().reply(id, "mended").await.contains("mended"));
}

#[tokio::test]
async fn a_damaged_or_foreign_entry_of_the_code_cache_is_compiled_anew() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("hello").await;
    assert!(host.client().reply(id, "one").await.contains("one"));
    let data = host.kill();
    let cache = data.path().join("cache/code");
    let mut damaged = 0;
    for entry in std::fs::read_dir(&cache).expect("the code cache").flatten() {
        let path = entry.path();
        let mut bytes = std::fs::read(&path).expect("an entry");
        // The small file is the key of the keyed hash; it stays.
        if bytes.len() > 10_000 {
            let middle = bytes.len() / 2;
            bytes[middle..middle + 64].fill(0xcc);
            std::fs::write(&path, &bytes).expect("the damage");
            damaged += 1;
        }
    }
    assert!(damaged > 0, "no compiled code was found in {}", cache.display());
    let host = Host::start_on(&data).await;
    assert!(host.client().reply(id, "two").await.contains("two"));
}
