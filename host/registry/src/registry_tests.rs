//! The registry on a real folder: publishing, races, resolution, damage, links.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use podium_wire::ErrorCode;
use podium_wire::manifest::Manifest;
use podium_wire::rest::Description;
use serde_json::{Map, Value};

use super::*;
use crate::testing::{component, manifest_json};

struct Fixture {
    folder: tempfile::TempDir,
    registry: Registry,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let registry = Registry::open(&folder.path().join("deployments")).expect("opens");
        Self { folder, registry }
    }

    fn path(&self, rest: &str) -> PathBuf {
        self.folder.path().join("deployments").join(rest)
    }

    fn upload(&self, bytes: &[u8]) -> Upload {
        upload(&self.registry, bytes)
    }

    fn publish(&self, name: &str, version: &str, bytes: &[u8]) -> Result<Published, RegistryError> {
        let upload = self.upload(bytes);
        let deployment = describe(name, version, &upload);
        self.registry.publish(upload, deployment)
    }

    fn staged(&self) -> usize {
        fs::read_dir(self.path(STAGING)).expect("is there").count()
    }

    fn found(&self, reference: &str) -> Result<String, ErrorCode> {
        let reference = reference.parse().expect("a reference");
        match self.registry.find(&reference) {
            Ok(deployment) => Ok(deployment.deployment_id.to_string()),
            Err(error) => Err(error.code()),
        }
    }
}

fn upload(registry: &Registry, bytes: &[u8]) -> Upload {
    let mut staged = registry.stage().expect("stages");
    for piece in bytes.chunks(7) {
        staged.write(piece).expect("written");
    }
    staged.finish().expect("finished")
}

fn describe(name: &str, version: &str, upload: &Upload) -> Deployment {
    let (agent_type, version): (AgentType, AgentVersion) =
        (name.parse().expect("type"), version.parse().expect("version"));
    Deployment {
        deployment_id: DeploymentId::new(agent_type.clone(), version.clone(), &upload.digest()),
        agent_type: agent_type.clone(),
        version: version.clone(),
        checksum: upload.digest(),
        size_bytes: upload.size(),
        created_at: 1,
        capabilities: vec!["files".into()],
        manifest: Manifest::new(agent_type, version),
        description: Description { hooks: vec![], state_schema_version: 0, config_schema: None, config_default: None },
    }
}

fn component_of(mark: &str) -> Vec<u8> {
    component(&[("mark", mark.as_bytes())])
}

#[test]
fn an_upload_is_hashed_counted_and_removed_with_its_value() {
    let fixture = Fixture::new();
    let bytes = component(&[("podium:manifest", manifest_json("a", "1.0.0").as_bytes())]);
    let upload = fixture.upload(&bytes);
    assert_eq!(upload.size(), bytes.len() as u64);
    assert_eq!(upload.digest(), digest_of(&bytes));
    assert_eq!(upload.bytes().expect("readable"), bytes);
    assert!(upload.inspect().expect("valid").manifest.is_some());
    assert_eq!(fixture.staged(), 1);
    drop(upload);
    drop(fixture.registry.stage().expect("stages"));
    assert_eq!(fixture.staged(), 0);
}

#[test]
fn an_empty_and_a_too_large_upload_are_refused() {
    let fixture = Fixture::new();
    let staged = fixture.registry.stage().expect("stages");
    assert_eq!(staged.finish().expect_err("empty").code(), ErrorCode::EmptyUpload);

    let mut staged = fixture.registry.stage().expect("stages");
    let mebibyte = vec![0; 1024 * 1024];
    for _ in 0..64 {
        staged.write(&mebibyte).expect("within the bound");
    }
    assert_eq!(staged.write(&[0]).expect_err("one byte over").code(), ErrorCode::ComponentTooLarge);
    assert_eq!(staged.finish().expect("exactly the bound").size(), COMPONENT_BYTES_MAX);
    assert_eq!(fixture.staged(), 0);
}

#[test]
fn a_deployment_can_be_found_read_and_listed_after_a_reopen() {
    let fixture = Fixture::new();
    let bytes = component_of("one");
    let published = fixture.publish("counter", "1.0.0", &bytes).expect("published");
    assert!(published.created);
    assert_eq!(fixture.staged(), 0);
    let id = published.deployment.deployment_id.clone();

    let again = Registry::open(&fixture.path("")).expect("opens");
    assert_eq!(again.get(&id).expect("there"), published.deployment);
    assert_eq!(again.bytes(&id).expect("whole"), bytes);
    assert_eq!(again.list().expect("listed"), [published.deployment]);
    assert!(fixture.path("counter/1.0.0/counter-1.0.0.wasm").is_file());
}

#[test]
fn the_same_bytes_are_the_same_deployment_and_others_are_refused() {
    let fixture = Fixture::new();
    let first = fixture.publish("a", "1.0.0", &component_of("one")).expect("published");
    let second = fixture.publish("a", "1.0.0", &component_of("one")).expect("the same");
    assert!(!second.created);
    assert_eq!(first.deployment, second.deployment);
    let other = fixture.publish("a", "1.0.0", &component_of("two")).expect_err("other bytes");
    assert_eq!(other.code(), ErrorCode::VersionExists);
    assert_eq!(fixture.registry.bytes(&first.deployment.deployment_id).expect("unchanged"), component_of("one"));
    assert_eq!(fixture.staged(), 0);
}

#[test]
fn a_record_of_other_bytes_is_refused() {
    let fixture = Fixture::new();
    let record = describe("a", "1.0.0", &fixture.upload(&component_of("one")));
    let refused = fixture.registry.publish(fixture.upload(&component_of("two")), record).expect_err("another record");
    assert!(matches!(refused, RegistryError::WrongRecord(_)));
    assert_eq!(fixture.registry.list().expect("listed"), []);
}

#[test]
fn of_racing_publishers_one_wins() {
    let fixture = Fixture::new();
    let registry = Arc::new(Registry::open(&fixture.path("race")).expect("opens"));
    let barrier = std::sync::Barrier::new(8);
    let created: Vec<bool> = std::thread::scope(|scope| {
        let (registry, barrier) = (&registry, &barrier);
        let publishers: Vec<_> = (0..8)
            .map(|n| {
                scope.spawn(move || {
                    let upload = upload(registry, &component_of(&format!("racer {n}")));
                    let record = describe("a", "1.0.0", &upload);
                    barrier.wait();
                    registry.publish(upload, record).is_ok_and(|published| published.created)
                })
            })
            .collect();
        publishers.into_iter().map(|publisher| publisher.join().expect("no panic")).collect()
    });
    assert_eq!(created.iter().filter(|created| **created).count(), 1);
    let listed = registry.list().expect("listed");
    assert_eq!(listed.len(), 1);
    assert!(registry.bytes(&listed[0].deployment_id).is_ok());
}

#[test]
fn references_resolve() {
    let fixture = Fixture::new();
    let mut ids = BTreeSet::new();
    for version in ["1.0.0", "1.10.0", "1.9.0", "2.0.0-rc.1"] {
        ids.insert(fixture.publish("a", version, &component_of(version)).expect("published").deployment.deployment_id);
    }
    fixture.publish("pre", "0.1.0-dev.2", &component_of("dev")).expect("published");
    let id_of = |version: &str| {
        ids.iter().find(|id| id.version.to_string() == version).map(ToString::to_string).ok_or(ErrorCode::Internal)
    };
    assert_eq!(fixture.found("a"), id_of("1.10.0"));
    assert_eq!(fixture.found("a:2.0.0-rc.1"), id_of("2.0.0-rc.1"));
    assert_eq!(fixture.found(&id_of("1.9.0").expect("there")), id_of("1.9.0"));
    assert!(fixture.found("pre").expect("the pre-release").starts_with("pre:0.1.0-dev.2@"));
    for missing in ["b", "a:3.0.0", "a:1.9.0@00000000", "pre:0.1.0"] {
        assert_eq!(fixture.found(missing), Err(ErrorCode::DeploymentNotFound), "{missing}");
    }
}

#[test]
fn damage_is_noticed_and_mended_by_the_same_bytes() {
    let fixture = Fixture::new();
    let id = fixture.publish("a", "1.0.0", &component_of("one")).expect("published").deployment.deployment_id;
    let component = fixture.path("a/1.0.0/a-1.0.0.wasm");
    let record = fixture.path("a/1.0.0/deployment.json");
    let damaged = |registry: &Registry| registry.bytes(&id).map_err(|error| error.code());

    fs::write(&component, component_of("onE")).expect("written");
    assert_eq!(damaged(&fixture.registry), Err(ErrorCode::DeploymentDamaged));
    assert!(!fixture.publish("a", "1.0.0", &component_of("one")).expect("mended").created);
    assert_eq!(damaged(&fixture.registry), Ok(component_of("one")));

    fs::remove_file(&component).expect("removed");
    assert_eq!(damaged(&fixture.registry), Err(ErrorCode::DeploymentDamaged));
    fixture.publish("a", "1.0.0", &component_of("one")).expect("mended");
    assert!(damaged(&fixture.registry).is_ok());

    for broken in ["", "{", "{}"] {
        fs::write(&record, broken).expect("written");
        assert_eq!(fixture.found("a"), Err(ErrorCode::DeploymentDamaged));
        assert_eq!(fixture.registry.list().expect("listed"), []);
        fixture.publish("a", "1.0.0", &component_of("one")).expect("mended");
        assert!(fixture.found("a").is_ok());
    }
    fs::write(&record, "{").expect("written");
    let other = fixture.publish("a", "1.0.0", &component_of("two")).expect_err("unknown whether it is the same");
    assert_eq!(other.code(), ErrorCode::DeploymentDamaged);
}

#[test]
fn a_record_that_was_moved_to_another_version_is_not_believed() {
    let fixture = Fixture::new();
    fixture.publish("a", "1.0.0", &component_of("one")).expect("published");
    fs::rename(fixture.path("a/1.0.0"), fixture.path("a/1.0.1")).expect("renamed");
    assert_eq!(fixture.found("a:1.0.1"), Err(ErrorCode::DeploymentDamaged));
}

#[test]
fn symbolic_links_are_not_followed() {
    let fixture = Fixture::new();
    let id = fixture.publish("a", "1.0.0", &component_of("one")).expect("published").deployment.deployment_id;
    let link = |target: PathBuf, at: PathBuf| std::os::unix::fs::symlink(target, at).expect("linked");

    link(fixture.path("a"), fixture.path("b"));
    link(fixture.path("a/1.0.0"), fixture.path("a/2.0.0"));
    assert_eq!(fixture.found("b:1.0.0"), Err(ErrorCode::DeploymentNotFound));
    assert_eq!(fixture.found("b"), Err(ErrorCode::DeploymentNotFound));
    assert_eq!(fixture.found("a:2.0.0"), Err(ErrorCode::DeploymentNotFound));
    assert_eq!(fixture.registry.list().expect("listed").len(), 1);

    let component = fixture.path("a/1.0.0/a-1.0.0.wasm");
    fs::rename(&component, fixture.path("moved.wasm")).expect("renamed");
    link(fixture.path("moved.wasm"), component);
    assert_eq!(fixture.registry.bytes(&id).expect_err("a link").code(), ErrorCode::DeploymentDamaged);
}

#[test]
fn what_a_crash_left_is_removed_and_an_empty_version_folder_does_not_block() {
    let fixture = Fixture::new();
    fs::write(fixture.path(".staging/7"), "half").expect("written");
    fs::create_dir(fixture.path(".staging/8")).expect("made");
    fs::write(fixture.path(".staging/8/a-1.0.0.wasm"), "half").expect("written");
    fs::create_dir_all(fixture.path("a/1.0.0")).expect("made");
    let registry = Registry::open(&fixture.path("")).expect("opens");
    assert_eq!(fixture.staged(), 0);
    let upload = upload(&registry, &component_of("one"));
    let record = describe("a", "1.0.0", &upload);
    assert!(registry.publish(upload, record).expect("published").created);
}

#[test]
fn what_could_not_be_read_back_is_not_published() {
    let fixture = Fixture::new();
    let publish = |version: &str, change: &dyn Fn(&mut Deployment)| {
        let upload = fixture.upload(&component_of(version));
        let mut deployment = describe("a", version, &upload);
        change(&mut deployment);
        fixture.registry.publish(upload, deployment).map(|published| published.deployment)
    };
    let nested = |depth: usize, innermost: Value| (0..depth).fold(innermost, |inner, _| Value::Array(vec![inner]));
    // Many small things within much nesting: little JSON, but not when each stands on a line of its own.
    let many = nested(40, Value::Array(vec![Value::from(7); 60_000]));
    let config = |value: Value| Some(Map::from_iter([("key".to_owned(), value)]));
    let stored = publish("1.0.0", &|deployment| deployment.manifest.config = config(many.clone())).expect("published");
    assert_eq!(fixture.registry.get(&stored.deployment_id).expect("reads"), stored);
    // Deeper than the reader goes, and larger than it takes.
    let deep = nested(126, Value::Null);
    let large = Value::String("a".repeat(5 * 1024 * 1024));
    for value in [deep, large] {
        let refused = publish("2.0.0", &|deployment| deployment.description.config_schema = Some(value.clone()));
        assert_eq!(refused.expect_err("refused").code(), ErrorCode::InvalidManifest);
        assert_eq!((fixture.found("a:2.0.0"), fixture.staged()), (Err(ErrorCode::DeploymentNotFound), 0));
    }
    assert_eq!(fixture.registry.list().expect("lists"), [stored]);
}
