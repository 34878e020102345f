"""JSON schema of study files."""

from __future__ import annotations

from typing import Any

from nonnormal.study.config.study import Study


def json_schema() -> dict[str, Any]:
    """JSON schema of study files; networks may be empty (null), which means the defaults."""
    schema = Study.model_json_schema()
    parts = schema["$defs"]
    for networks in (
        schema["properties"]["runs"],
        parts["Designs"]["properties"]["runs"],
        parts["PhaseSpace"]["properties"]["networks"],
    ):
        by_name = networks["patternProperties"]
        networks["patternProperties"] = {name: {"anyOf": [entry, {"type": "null"}]} for name, entry in by_name.items()}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
