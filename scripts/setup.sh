#!/usr/bin/env bash
# Checks the Rust toolchain and installs what building agents needs. Installs only what is missing, and only from
# Debian's packages; it never downloads a toolchain.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        say "this needs root: $*"
        return 1
    fi
}

# Installs Debian packages, with a fresh package list only when the present one does not do.
install() {
    say "installing $*"
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get install -y --no-install-recommends "$@" >/dev/null 2>&1 && return
    as_root apt-get update -q
    as_root apt-get install -y --no-install-recommends "$@"
}

wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
if ! command -v cargo >/dev/null; then
    say "there is no cargo: install Rust $wanted or newer"
    exit 1
fi
found=$(rustc --version | cut -d' ' -f2)
if [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n1)" != "$wanted" ]; then
    say "rustc is $found, and $wanted or newer is needed"
    exit 1
fi

# The embedded SQLite is C.
command -v cc >/dev/null || install build-essential

# The OpenAPI document is judged by a validator of PyPI, in an environment of its own.
command -v python3 >/dev/null || install python3
python3 -c 'import ensurepip, venv' 2>/dev/null || install python3-venv

# What the guides' commands use, and the stories of mounts: `git` works in one.
for tool in git jq zstd; do
    command -v "$tool" >/dev/null || install "$tool"
done

# pjdfstest, which the stories of `podium mount` run, reads access control lists.
[ -e /usr/include/sys/acl.h ] || install libacl1-dev

# Agents are WebAssembly: rustup's target where it is installed, else Debian's packages.
if [ "${PODIUM_WASM_TOOLCHAIN:-}" != debian ] && [ -d "$(rustc --print sysroot)/lib/rustlib/wasm32-wasip2/lib" ]; then
    exit 0
fi
missing=()
for package in rustc-web cargo-web rust-web-src wasi-libc; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    install "${missing[@]}"
fi
