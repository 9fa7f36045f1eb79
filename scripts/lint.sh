#!/usr/bin/env bash
# Formatting and clippy over both workspaces; warnings are errors. A toolchain without them is told, not failed:
# CI has both.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}

if cargo fmt --version >/dev/null 2>&1; then
    cargo fmt --all --check
    cargo fmt --all --check --manifest-path agents/Cargo.toml
else
    echo "lint: SKIPPED formatting: this toolchain has no rustfmt" >&2
fi
if cargo clippy --version >/dev/null 2>&1; then
    cargo clippy --locked --profile ci --workspace --all-targets -- -D warnings
    cargo clippy --locked --manifest-path agents/Cargo.toml --workspace --all-targets --target-dir "$target/agents-native" -- -D warnings
else
    echo "lint: SKIPPED clippy: this toolchain has none" >&2
fi
