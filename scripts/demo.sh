#!/usr/bin/env bash
# The demonstration: an agent answers questions from this repository's own documents, the host is killed with
# `kill -9` in the middle of an answer, and the same question is answered after the restart.
#
# Starts one host on a free port over a temporary data folder, and ends only that host, by its process id.
set -euo pipefail
cd "$(dirname "$0")/.."

podium=${PODIUM_BIN:-${CARGO_TARGET_DIR:-$PWD/target}/ci/podium}
scratch=$(mktemp -d)
export PODIUM_DATA=$scratch/data
unset PODIUM_TOKEN PODIUM_URL
host=

if [ -t 1 ]; then bold=$'\e[1m' faint=$'\e[2m' plain=$'\e[0m'; else bold='' faint='' plain=''; fi
step() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
note() { printf '%s%s%s\n' "$faint" "$*" "$plain"; }

clean_up() {
    if [ -n "$host" ]; then
        kill "$host" 2>/dev/null || true
        wait "$host" 2>/dev/null || true
    fi
    rm -rf "$scratch"
}
trap clean_up EXIT

# Starts the host on this address and waits for its first line, which names the address.
start() {
    : >"$scratch/out"
    "$podium" up --listen "$1" >"$scratch/out" 2>>"$scratch/log" &
    host=$!
    for _ in $(seq 600); do
        if PODIUM_URL=$(sed -n '1s/^listening on //p' "$scratch/out") && [ -n "$PODIUM_URL" ]; then
            export PODIUM_URL
            return
        fi
        kill -0 "$host" 2>/dev/null || break
        sleep 0.05
    done
    cat "$scratch/log" >&2
    echo "the host did not start" >&2
    exit 1
}

die() {
    kill -9 "$host"
    wait "$host" 2>/dev/null || true
    host=
}

step "A host, with its data in a temporary folder"
start 127.0.0.1:0
note "$podium up → $PODIUM_URL"

step "The librarian: built to a WebAssembly component and deployed"
"$podium" deploy agents/librarian
# A reader's pace, so that there is a middle of an answer to die in.
agent=$(echo '{"pace_ms": 60, "passages": 2}' | "$podium" instance create librarian --config -)
note "instance $agent"

step "Its documents: this repository's own"
"$podium" files put "$agent" docs docs
"$podium" files put "$agent" README.md README.md
note "$("$podium" files ls "$agent" | wc -l) entries"

first="What is a parked message, and what can I do about it?"
second="How does a turn end in one cut?"

step "First question: $first"
"$podium" chat "$agent" "$first"

step "Second question: $second"
note "(the host dies in the middle of this answer, and comes back on the same address)"
"$podium" chat "$agent" "$second" --message-id second >"$scratch/answer" 2>"$scratch/said" &
chat=$!
# The middle: some of the answer has been shown, and its cut has not been made.
for _ in $(seq 2000); do
    [ "$(stat -c %s "$scratch/answer")" -gt 80 ] && break
    kill -0 "$chat" 2>/dev/null || break
    sleep 0.005
done
die
printf '%s\n%s✂ kill -9%s\n' "$(cat "$scratch/answer")" "$bold" "$plain"
if grep -q '^Sources:' "$scratch/answer"; then
    echo "the answer was over before the host was killed: this machine is too fast for the pace" >&2
    exit 1
fi
half=$(stat -c %s "$scratch/answer")

step "The host again, over the same data: the same question, answered"
start "${PODIUM_URL#http://}"
wait "$chat"
cat "$scratch/said"
tail -c +$((half + 1)) "$scratch/answer"

step "Said once more under the same id: not a second answer, but the same one"
"$podium" chat "$agent" "$second" --message-id second --json | cut -c1-200
step "Two questions, one death, two answers: $("$podium" instance state "$agent" /questions) questions are counted"
