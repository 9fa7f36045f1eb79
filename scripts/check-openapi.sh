#!/usr/bin/env bash
# Judges an OpenAPI document by the published rules of 3.1, and the golden bodies by its schemas: check-openapi.sh FILE.
# Uses openapi-spec-validator of PyPI, from this machine or else from a folder of its own below target/.
set -euo pipefail
cd "$(dirname "$0")/.."
document=$1
python=python3
if ! "$python" -c 'import openapi_spec_validator' 2>/dev/null; then
    tools=${CARGO_TARGET_DIR:-$PWD/target}/openapi-tools
    python=$tools/bin/python
    if ! "$python" -c 'import openapi_spec_validator' 2>/dev/null; then
        python3 -m venv "$tools"
        "$python" -m pip install --quiet 'openapi-spec-validator==0.9.0'
    fi
fi
exec "$python" scripts/check_openapi.py "$document" wit/wire/fixtures
