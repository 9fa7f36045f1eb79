"""Judges an OpenAPI document, and golden bodies by its schemas. Called by check-openapi.sh; prints every fault."""

import json
import pathlib
import sys

from jsonschema.validators import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

document = json.loads(pathlib.Path(sys.argv[1]).read_text())
faults = [f"the document: {fault.json_path}: {fault.message}" for fault in OpenAPIV31SpecValidator(document).iter_errors()]

# A golden file is named by its shape, with a word behind a hyphen where there are several; a frame's by its type.
goldens = 0
for folder, frame in (("rest", None), ("error", None), ("client", "ClientFrame"), ("server", "ServerFrame")):
    for golden in sorted(pathlib.Path(sys.argv[2], folder).glob("*.json")):
        shape = frame or golden.stem.split("-")[0]
        if shape not in document["components"]["schemas"]:
            faults.append(f"{golden}: no route takes or gives a {shape}")
            continue
        goldens += 1
        schema = {"$ref": f"#/components/schemas/{shape}", "components": document["components"]}
        for fault in Draft202012Validator(schema).iter_errors(json.loads(golden.read_text())):
            faults.append(f"{golden}: {fault.json_path}: {fault.message}")

print(*faults, sep="\n")
if faults or not goldens:
    sys.exit(1)
print(f"the document and {goldens} golden bodies agree")
