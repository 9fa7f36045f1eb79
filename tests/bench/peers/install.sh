#!/usr/bin/env bash
# Installs the benchmark's peers, all pinned: Bun and workerd from npm, wasmtime from PyPI, jj from crates.io (it is built, which takes
# minutes), restic of the machine's own distribution; and builds the benchmark's agent in JavaScript and Python with their tools. What is there already is kept; what cannot be had is left out, and the table
# says so.
set -euo pipefail
cd "$(dirname "$0")"
tools=${CARGO_TARGET_DIR:-$PWD/../../../target}/bench-tools
wit=../../../wit/podium
mkdir -p "$tools"

have() {
    command -v "$1" >/dev/null || { echo "peers: $1 is missing; what it would bring is left out" >&2; return 1; }
}

# True when a file is missing or older than anything in these folders.
stale() {
    [ ! -e "$1" ] || [ -n "$(find "${@:2}" -type f -newer "$1" -print -quit)" ]
}

if have npm; then
    if ! cmp -s package-lock.json node_modules/.installed; then
        npm ci --ignore-scripts --no-audit --no-fund
        cp package-lock.json node_modules/.installed
    fi
    if stale "$tools/streamer-javascript.wasm" ../agents/javascript "$wit"; then
        node_modules/.bin/componentize-qjs -w "$wit" -n agent -j ../agents/javascript/agent.js -o "$tools/streamer-javascript.wasm"
    fi
fi

if have python3; then
    if ! cmp -s requirements.txt "$tools/.installed"; then
        python3 -m venv --clear "$tools/python"
        "$tools/python/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.txt
        # The wheel carries the program without its permission.
        cp "$tools"/python/lib/python3.*/site-packages/wasmtime_cli/wasmtime "$tools/wasmtime"
        chmod 755 "$tools/wasmtime"
        cp requirements.txt "$tools/.installed"
    fi
    if stale "$tools/streamer-python.wasm" ../agents/python "$wit"; then
        PYTHONDONTWRITEBYTECODE=1 "$tools/python/bin/componentize-py" -d "$wit" -w agent \
            componentize -p ../agents/python app -o "$tools/streamer-python.wasm"
    fi
fi

if have apt-get && have dpkg-deb && [ ! -e "$tools/restic/usr/bin/restic" ]; then
    # Taken out of its package: nothing is installed on the machine.
    package=$(mktemp -d)
    if (cd "$package" && apt-get download -q restic >/dev/null); then
        dpkg-deb -x "$package"/restic_*.deb "$tools/restic"
    else
        echo "peers: apt-get has no restic; it is left out" >&2
    fi
    rm -rf "$package"
fi

if have cargo && [ ! -e "$tools/jj/bin/jj" ]; then
    cargo install --quiet --locked --root "$tools/jj" --bin jj jj-cli@0.45.1 || echo "peers: jj cannot be built; it is left out" >&2
fi
