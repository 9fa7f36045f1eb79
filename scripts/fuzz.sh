#!/usr/bin/env bash
# Runs the fuzz targets of tests/fuzz, one after another, RUNS inputs each; the committed corpus grows by what is new, and is
# then reduced to what is needed. Needs a nightly toolchain and cargo-fuzz.
set -euo pipefail
cd "$(dirname "$0")/../tests/fuzz"

runs=${RUNS:-1000000}
targets=${TARGETS:-frames rest manifest patches}
# Inputs larger than this say nothing new and cost time.
max_len=${MAX_LEN:-768}
# Larger ones are not kept: a corpus is read by people, too.
kept_len=512
out=${CARGO_TARGET_DIR:-$PWD/../../target}/fuzz
fuzz=(cargo +nightly fuzz)
# No sanitizer: this repository's own code in these crates has no `unsafe`. Assertions and checked arithmetic are on.
options=(--fuzz-dir . --sanitizer none --release --target-dir "$out")

cargo +nightly fuzz --version >/dev/null || {
    echo "fuzz: needs a nightly toolchain and \`cargo install cargo-fuzz --locked\`" >&2
    exit 1
}
"${fuzz[@]}" build "${options[@]}"
for target in $targets; do
    dictionary=dictionaries/json.dict
    [ "$target" = manifest ] && dictionary=dictionaries/manifest.dict
    found=$out/corpus/$target
    mkdir -p "$found" "artifacts/$target"
    echo "fuzz: $target, $runs runs" >&2
    # New inputs go into the first folder only.
    "${fuzz[@]}" run "${options[@]}" "$target" "$found" "corpus/$target" -- \
        -runs="$runs" -max_len="$max_len" -dict="$dictionary" -print_final_stats=1
    # What both folders reach, by the fewest and smallest inputs: one for each branch of the code, not for how often it is taken.
    merged=$(mktemp -d)
    "${fuzz[@]}" run "${options[@]}" "$target" "$merged" "corpus/$target" "$found" -- -merge=1 -use_counters=0 -max_len="$kept_len"
    rm -rf "corpus/$target" "$found"
    mv "$merged" "corpus/$target"
    chmod 755 "corpus/$target"
done
