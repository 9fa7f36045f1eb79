//! How this binary calls itself to compile a component.
//!
//! Owns the word by which it knows that it was called for that. Must never be a command of anyone's: it is in no help.

use std::time::Duration;

use podium_coordinator::{Compiler, CompilerProcess};

/// The word.
pub(crate) const COMPILE: &str = "compile-component";

/// This very binary, even when its file has been replaced since.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Components are compiled by this binary in another process, which can be bounded and killed. `cpu` is the processor time
/// of one.
pub(crate) fn own(cpu: Duration) -> Compiler {
    Compiler::Process(CompilerProcess { program: OWN_PROGRAM.into(), argument: COMPILE.into(), cpu })
}
