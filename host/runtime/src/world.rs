//! Checks a component against the world `podium:agent/agent`, and names what does not fit.
//!
//! Also says what a component may be granted: the capabilities it imports. Extra exports are allowed, because
//! JavaScript and Python components carry some of their toolchain's.

use std::collections::BTreeSet;

use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::component::types::{ComponentFunc, ComponentItem};

use crate::bindings::exports::podium::agent::lifecycle::{ConfigChange, Description, ShutdownReason};
use crate::bindings::podium::agent::types::{Error, Message};

const LIFECYCLE: &str = "podium:agent/lifecycle@0.1.0";
/// Interfaces of `podium:agent`, each a capability but `types`.
const PODIUM: [&str; 8] = ["types", "updates", "state", "messages", "workspace", "ask", "log", "config"];
/// Packages of WASI and what they fold into; none of the empty ones grants anything.
const WASI: [(&str, &str); 6] = [
    ("io", ""),
    ("cli", ""),
    ("clocks", "clock"),
    ("filesystem", "files"),
    ("random", "random"),
    ("sockets", "network"),
];

/// What a component imports.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Imports {
    /// Capabilities, sorted.
    pub(crate) capabilities: BTreeSet<&'static str>,
    /// Names that this host does not know.
    pub(crate) unknown: Vec<String>,
}

impl Imports {
    fn add(&mut self, name: &str) {
        match known(name) {
            Some("" | "types") => {}
            Some(capability) => {
                self.capabilities.insert(capability);
            }
            None => self.unknown.push(name.to_owned()),
        }
    }
}

/// The capability of an import; empty when it grants nothing, none when it is unknown.
fn known(import: &str) -> Option<&'static str> {
    let (path, version) = import.split_once('@')?;
    let (package, interface) = path.split_once('/')?;
    match package.split_once(':')? {
        ("podium", "agent") if version.starts_with("0.1.") => PODIUM.into_iter().find(|known| *known == interface),
        ("wasi", name) => {
            let (_, capability) = WASI.into_iter().find(|(package, _)| *package == name)?;
            // Streams and futures of 0.3 are the component model's own.
            let linked = version.starts_with("0.2.") || (version.starts_with("0.3.") && name != "io");
            linked.then_some(capability)
        }
        _ => None,
    }
}

/// Reads what a component imports.
pub(crate) fn imports(engine: &Engine, component: &Component) -> Imports {
    let mut imports = Imports::default();
    for (name, item) in component.component_type().imports(engine) {
        // A type in itself asks for nothing.
        if !matches!(item.ty, ComponentItem::Type(_)) {
            imports.add(name);
        }
    }
    imports
}

/// What of the exports does not fit the world, a sentence each.
pub(crate) fn export_faults(engine: &Engine, component: &Component) -> Vec<String> {
    let ty = component.component_type();
    let Some(ComponentItem::ComponentInstance(lifecycle)) = ty.get_export(engine, LIFECYCLE).map(|item| item.ty) else {
        return vec![format!("`{LIFECYCLE}` is not exported")];
    };
    let instance = ty.instance_type();
    let mut faults = Vec::new();
    let mut check = |name: &str, fits: &dyn Fn(&ComponentFunc) -> bool| match lifecycle
        .get_export(engine, name)
        .map(|item| item.ty)
    {
        Some(ComponentItem::ComponentFunc(func)) if func.async_() && fits(&func) => {}
        Some(ComponentItem::ComponentFunc(func)) if fits(&func) => faults.push(format!("`{name}` is not async")),
        Some(_) => faults.push(format!("`{name}` has another type")),
        None => faults.push(format!("`{name}` is missing")),
    };
    type Done = (Result<(), Error>,);
    check("describe", &|func| func.typecheck::<(), (Description,)>(&instance).is_ok());
    check("on-init", &|func| func.typecheck::<(), Done>(&instance).is_ok());
    check("on-message", &|func| func.typecheck::<(Message,), Done>(&instance).is_ok());
    check("on-steer", &|func| func.typecheck::<(Message,), Done>(&instance).is_ok());
    check("on-config-change", &|func| func.typecheck::<(Vec<ConfigChange>, String), Done>(&instance).is_ok());
    check("on-idle", &|func| func.typecheck::<(), (bool,)>(&instance).is_ok());
    check("on-shutdown", &|func| func.typecheck::<(ShutdownReason,), Done>(&instance).is_ok());
    check("migrate", &|func| func.typecheck::<(u32,), Done>(&instance).is_ok());
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_fold_into_capabilities_and_the_rest_is_named() {
        let mut imports = Imports::default();
        for name in [
            "podium:agent/types@0.1.0",
            "podium:agent/state@0.1.0",
            "podium:agent/ask@0.1.0",
            "podium:agent/workspace@0.1.0",
            "wasi:io/poll@0.2.6",
            "wasi:cli/stdout@0.3.0",
            "wasi:filesystem/types@0.2.0",
            "wasi:filesystem/types@0.3.0",
            "wasi:clocks/monotonic-clock@0.3.0",
            "wasi:sockets/tcp@0.2.12",
            // Unknown: an interface, two versions, a package, a bare name.
            "podium:agent/teleport@0.1.0",
            "podium:agent/state@0.2.0",
            "wasi:io/poll@0.3.0",
            "wasi:http/types@0.2.0",
            "env",
        ] {
            imports.add(name);
        }
        assert_eq!(
            imports.capabilities.into_iter().collect::<Vec<_>>(),
            ["ask", "clock", "files", "network", "state", "workspace"]
        );
        assert_eq!(imports.unknown.len(), 5);
        assert_eq!(imports.unknown[0], "podium:agent/teleport@0.1.0");
    }
}
