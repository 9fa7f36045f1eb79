#!/usr/bin/env bash
# Installs the file-system suites that the stories of `podium mount` run, pinned, from crates.io, into the target folder. What is there
# already is kept.
set -euo pipefail
cd "$(dirname "$0")/../../.."
tools=${CARGO_TARGET_DIR:-$PWD/target}/filesystem-tools
mkdir -p "$tools"
# Two stories may come at once.
exec 9>"$tools/.lock"
flock 9
for wanted in pjdfstest@0.2.2 fsx@0.3.2; do
    name=${wanted%@*}
    if [ ! -x "$tools/bin/$name" ] || [ "$(cat "$tools/$name.version" 2>/dev/null)" != "$wanted" ]; then
        cargo install --quiet --locked --root "$tools" --target-dir "$tools/build" "$wanted" >&2
        rm -rf "$tools/build"
        printf '%s' "$wanted" >"$tools/$name.version"
    fi
done
printf '%s\n' "$tools/bin"
