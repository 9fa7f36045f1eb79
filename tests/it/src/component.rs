//! Components changed byte by byte, so that a story gets the manifest or the damage that it needs.

use serde_json::Value;

/// Magic, version 13, layer 1: how every component starts.
const HEADER_BYTES: usize = 8;

/// The custom section that carries the manifest.
const MANIFEST: &str = podium_wire::manifest::SECTION;

pub(crate) fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits");
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn read_leb(bytes: &[u8], at: &mut usize) -> usize {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
        shift += 7;
    }
}

/// The component with one more custom section at its end.
pub fn with_section(mut bytes: Vec<u8>, name: &str, data: &[u8]) -> Vec<u8> {
    let mut content = leb(name.len());
    content.extend_from_slice(name.as_bytes());
    content.extend_from_slice(data);
    bytes.push(0);
    bytes.extend(leb(content.len()));
    bytes.extend(content);
    bytes
}

/// The component without its custom sections of this name, and what the first of them held.
pub fn without_section(bytes: &[u8], name: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut kept = bytes[..HEADER_BYTES].to_vec();
    let mut found = None;
    let mut at = HEADER_BYTES;
    while at < bytes.len() {
        let start = at;
        let id = bytes[at];
        at += 1;
        let size = read_leb(bytes, &mut at);
        let end = at + size;
        let mut inner = at;
        let named = id == 0 && {
            let length = read_leb(bytes, &mut inner);
            &bytes[inner..inner + length] == name.as_bytes()
        };
        if named {
            found.get_or_insert_with(|| bytes[inner + name.len()..end].to_vec());
        } else {
            kept.extend_from_slice(&bytes[start..end]);
        }
        at = end;
    }
    (kept, found)
}

/// The manifest that a component carries.
pub fn manifest(bytes: &[u8]) -> Value {
    let (_, section) = without_section(bytes, MANIFEST);
    serde_json::from_slice(&section.expect("the component carries a manifest")).expect("a manifest is JSON")
}

/// The component with its manifest changed.
pub fn with_manifest(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut document = manifest(bytes);
    change(&mut document);
    let (bare, _) = without_section(bytes, MANIFEST);
    with_section(bare, MANIFEST, document.to_string().as_bytes())
}

/// The same agent with other bytes.
pub fn other_bytes(bytes: &[u8]) -> Vec<u8> {
    with_section(bytes.to_vec(), "story", b"other bytes")
}

/// The component with these bytes in place of those, which must be in it, as often as they are.
pub fn replaced(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "what follows would move");
    let places: Vec<usize> = (0..=bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "the component does not say `{}`", String::from_utf8_lossy(from));
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

/// A component from its text form.
pub fn from_text(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("a story's component is well formed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_can_be_put_in_read_and_changed() {
        let bare = from_text("(component)");
        let with = with_section(bare.clone(), MANIFEST, br#"{"type":"a","version":"1.0.0"}"#);
        assert_eq!(manifest(&with)["type"], "a");
        let changed = with_manifest(&with, |manifest| manifest["version"] = "2.0.0".into());
        assert_eq!(manifest(&changed)["version"], "2.0.0");
        assert_eq!(without_section(&changed, MANIFEST).0, bare);
        assert_ne!(other_bytes(&with), with);
    }

    #[test]
    fn long_sections_have_long_lengths() {
        let long = with_section(from_text("(component)"), "long", &vec![7; 100_000]);
        assert_eq!(without_section(&long, "long").1.map(|data| data.len()), Some(100_000));
    }
}
