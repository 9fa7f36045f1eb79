//! What the bytes of an upload are: a valid component, and the manifest it carries. Pure.
//!
//! Must never accept bytes that an engine could read in two ways: a manifest counts at the top level only, once.

use podium_wire::manifest::{Manifest, SECTION};
use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};

use crate::error::RegistryError;

/// What a valid component says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspected {
    /// The manifest of its section `podium:manifest`; none in a component that `podium build` did not make.
    pub manifest: Option<Manifest>,
}

/// What some configuration of our engine can run; the engine itself takes less and has the last word.
const FEATURES: WasmFeatures = WasmFeatures::WASM3
    .union(WasmFeatures::COMPONENT_MODEL)
    .union(WasmFeatures::CM_ASYNC)
    .union(WasmFeatures::CM_ASYNC_STACKFUL)
    .union(WasmFeatures::CM_MORE_ASYNC_BUILTINS)
    .union(WasmFeatures::CM_ERROR_CONTEXT)
    .union(WasmFeatures::CM_FIXED_LENGTH_LISTS)
    .union(WasmFeatures::WIDE_ARITHMETIC)
    .union(WasmFeatures::CUSTOM_PAGE_SIZES);

const MAGIC: &[u8; 4] = b"\0asm";

/// Checks a whole component and reads its manifest.
///
/// # Errors
/// Those of [`crate::Upload::inspect`].
pub fn inspect(bytes: &[u8]) -> Result<Inspected, RegistryError> {
    check_kind(bytes)?;
    Validator::new_with_features(FEATURES).validate_all(bytes).map_err(RegistryError::InvalidComponent)?;
    Ok(Inspected { manifest: manifest(bytes)? })
}

fn check_kind(bytes: &[u8]) -> Result<(), RegistryError> {
    if bytes.is_empty() {
        return Err(RegistryError::EmptyUpload);
    }
    if !bytes.starts_with(MAGIC) {
        return Err(RegistryError::NotAComponent);
    }
    match Parser::new(0).parse_all(bytes).next() {
        Some(Ok(Payload::Version { encoding: Encoding::Module, .. })) => Err(RegistryError::CoreModule),
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(RegistryError::InvalidComponent(error)),
        None => Err(RegistryError::NotAComponent),
    }
}

fn manifest(bytes: &[u8]) -> Result<Option<Manifest>, RegistryError> {
    let mut found = None;
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(RegistryError::InvalidComponent)? {
            Payload::ModuleSection { unchecked_range, .. } | Payload::ComponentSection { unchecked_range, .. } => {
                // The validator takes the end of the bytes for the end of what is nested, though it was said to be longer.
                if unchecked_range.end > bytes.len() {
                    return Err(RegistryError::Truncated);
                }
                depth += 1;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 0 && section.name() == SECTION => {
                if found.is_some() {
                    return Err(RegistryError::ManyManifests);
                }
                found = Some(Manifest::from_section(section.data()).map_err(RegistryError::InvalidManifest)?);
            }
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use podium_wire::ErrorCode;
    use podium_wire::manifest::MANIFEST_BYTES_MAX;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{component, custom_section, manifest_json};

    fn code(bytes: &[u8]) -> Option<ErrorCode> {
        inspect(bytes).err().map(|error| error.code())
    }

    #[test]
    fn bad_bytes_have_their_own_codes() {
        let module = b"\0asm\x01\0\0\0".as_slice();
        assert_eq!(code(b""), Some(ErrorCode::EmptyUpload));
        assert_eq!(code(b"#!/bin/sh"), Some(ErrorCode::NotAComponent));
        assert_eq!(code(&[0x1f, 0x8b, 8, 0]), Some(ErrorCode::NotAComponent));
        assert_eq!(code(module), Some(ErrorCode::CoreModule));
        assert_eq!(code(b"\0asm"), Some(ErrorCode::InvalidComponent));
        assert_eq!(code(b"\0asm\x0d\0\x07\0"), Some(ErrorCode::InvalidComponent));
        let whole = component(&[("podium:manifest", manifest_json("a", "1.0.0").as_bytes())]);
        assert_eq!(code(&whole), None);
        assert_eq!(code(&whole[..whole.len() - 1]), Some(ErrorCode::InvalidComponent));
    }

    #[test]
    fn the_manifest_is_read_once_and_at_the_top_only() {
        let json = manifest_json("counter", "1.2.3");
        let with = component(&[("other", b"x"), (SECTION, json.as_bytes())]);
        let found = inspect(&with).expect("valid").manifest.expect("a manifest");
        assert_eq!((found.agent_type.as_str(), found.version.to_string().as_str()), ("counter", "1.2.3"));
        assert_eq!(inspect(&component(&[])).expect("valid").manifest, None);
        let twice = component(&[(SECTION, json.as_bytes()), (SECTION, json.as_bytes())]);
        assert_eq!(code(&twice), Some(ErrorCode::InvalidManifest));

        // A nested component (section 4) and a nested core module (section 1) with manifests of their own.
        for (id, version) in [(4_u8, [0x0d, 0, 1, 0]), (1, [1, 0, 0, 0])] {
            let mut inner = [b"\0asm".as_slice(), &version].concat();
            inner.extend(custom_section(SECTION, b"not read"));
            let mut outer = component(&[]);
            outer.push(id);
            outer.push(u8::try_from(inner.len()).expect("short"));
            outer.extend(inner);
            assert_eq!(inspect(&outer).expect("valid").manifest, None);
            outer.extend(custom_section(SECTION, json.as_bytes()));
            assert!(inspect(&outer).expect("valid").manifest.is_some());
        }
    }

    #[test]
    fn a_nested_module_or_component_that_is_cut_short_is_refused() {
        for (id, version) in [(4_u8, [0x0d, 0, 1, 0]), (1, [1, 0, 0, 0])] {
            let inner = [b"\0asm".as_slice(), &version].concat();
            let nested = |size: u8| [component(&[]).as_slice(), &[id, size], &inner].concat();
            assert_eq!(code(&nested(8)), None);
            assert_eq!(code(&nested(31)), Some(ErrorCode::InvalidComponent), "bytes behind it would be its own");
        }
    }

    #[test]
    fn a_bad_manifest_is_refused() {
        let large = format!("{}{}", manifest_json("a", "1.0.0"), " ".repeat(MANIFEST_BYTES_MAX));
        for text in
            ["", "{}", "[1]", r#"{"type":"A","version":"1.0.0"}"#, r#"{"type":"a","version":"1.0.0","x":1}"#, &large]
        {
            let bytes = component(&[(SECTION, text.as_bytes())]);
            assert_eq!(code(&bytes), Some(ErrorCode::InvalidManifest), "{text:.40}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(tail in prop::collection::vec(any::<u8>(), 0..200), keep in 0usize..9) {
            let mut bytes = b"\0asm\x0d\0\x01\0"[..keep.min(8)].to_vec();
            bytes.extend(tail);
            // Whatever it is, it has an answer.
            prop_assert!(inspect(&bytes).map_or_else(|error| error.code().status() >= 400, |_| true));
        }
    }
}
