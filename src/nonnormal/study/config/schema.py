"""JSON schema of study files."""

from __future__ import annotations

from typing import Any

from nonnormal.study.config.study import study_model
from nonnormal.study.registry import packaged


def json_schema() -> dict[str, Any]:
    """JSON schema of study files, with the experiments of this package.

    Networks may be empty (null), which means the defaults.
    """
    schema = study_model(packaged()).model_json_schema()
    named = [schema["properties"]["runs"]]
    named += [part["properties"]["networks"] for part in schema["$defs"].values() if "networks" in part["properties"]]
    for networks in named:
        by_name = networks["patternProperties"]
        networks["patternProperties"] = {name: {"anyOf": [entry, {"type": "null"}]} for name, entry in by_name.items()}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
