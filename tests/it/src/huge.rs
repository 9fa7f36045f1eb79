//! A valid component that is as large as one may be and keeps a compiler busy for minutes.
//!
//! Written byte by byte: its text would be ten times as long.

use crate::component::leb;

/// Locals of a function: each is alive from its begin to its end.
const LOCALS: usize = 400;
/// Bytes of a function; the engine takes no more than 7,654,321.
const FUNCTION_BYTES: usize = 300_000;

/// A component of about this many bytes. It exports nothing; `salt` makes its bytes others.
pub fn component(bytes: usize, salt: u64) -> Vec<u8> {
    let functions = (bytes / FUNCTION_BYTES).max(1);
    let body = function();
    // One type: no parameters, no results.
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    section(&mut module, 1, &[1, 0x60, 0, 0]);
    let mut types = leb(functions);
    types.resize(types.len() + functions, 0);
    section(&mut module, 3, &types);
    let mut code = leb(functions);
    for _ in 0..functions {
        code.extend(leb(body.len()));
        code.extend_from_slice(&body);
    }
    section(&mut module, 10, &code);
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    section(&mut component, 1, &module);
    crate::component::with_section(component, "salt", &salt.to_le_bytes())
}

fn section(to: &mut Vec<u8>, id: u8, content: &[u8]) {
    to.push(id);
    to.extend(leb(content.len()));
    to.extend_from_slice(content);
}

/// Arithmetic on locals far apart, in blocks that are left in the middle: nothing can be computed ahead.
fn function() -> Vec<u8> {
    const LOCAL_GET: u8 = 0x20;
    const LOCAL_SET: u8 = 0x21;
    const I64: u8 = 0x7e;
    let mut body = vec![1];
    body.extend(leb(LOCALS));
    body.push(I64);
    let mut seed = 1_usize;
    let mut local = || {
        // A linear congruence: the same numbers in every run.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        leb((seed >> 33) % LOCALS)
    };
    while body.len() < FUNCTION_BYTES {
        // block; a · b + c → d; leave when e is zero; f · g → h; end
        body.extend([0x02, 0x40, LOCAL_GET]);
        body.extend(local());
        body.push(LOCAL_GET);
        body.extend(local());
        body.extend([0x7e, LOCAL_GET]);
        body.extend(local());
        body.extend([0x7c, LOCAL_SET]);
        body.extend(local());
        body.push(LOCAL_GET);
        body.extend(local());
        body.extend([0x50, 0x0d, 0, LOCAL_GET]);
        body.extend(local());
        body.push(LOCAL_GET);
        body.extend(local());
        body.extend([0x7e, LOCAL_SET]);
        body.extend(local());
        body.push(0x0b);
    }
    body.push(0x0b);
    body
}
