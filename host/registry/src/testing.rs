//! Least components for the tests of this crate, written byte by byte.

/// An empty component with these custom sections.
pub(crate) fn component(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
    for (name, data) in sections {
        bytes.extend(custom_section(name, data));
    }
    bytes
}

/// A custom section: id 0, size, name, data.
pub(crate) fn custom_section(name: &str, data: &[u8]) -> Vec<u8> {
    let mut body = leb(name.len());
    body.extend(name.as_bytes());
    body.extend(data);
    let mut section = vec![0];
    section.extend(leb(body.len()));
    section.extend(body);
    section
}

/// The least manifest.
pub(crate) fn manifest_json(agent_type: &str, version: &str) -> String {
    format!(r#"{{"type":"{agent_type}","version":"{version}"}}"#)
}

/// An unsigned LEB128.
fn leb(mut value: usize) -> Vec<u8> {
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
