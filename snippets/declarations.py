"""The same contract for clients: JSON Schema, and types for TypeScript.

```python
print(typescript(Client=Say | Ping, Server=Said | Ack | Error))
```

Both are made from the types themselves, so they cannot differ from what the
server takes. Write them to a file when you build, and compare in a test.

Needs: msgspec and typing_extensions, which come with litestar.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec
from typing_extensions import TypeForm

_PLACE = "#/$defs/"
_PLAIN = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}


def json_schema(**directions: TypeForm[Any]) -> dict[str, Any]:
    """Describe the messages of each direction in JSON Schema.

    Args:
        directions: The types, usually unions, by the names to give them.

    Returns:
        A schema, draft 2020-12, without a type of its own: the directions and
        their types are in its `$defs`.

    Raises:
        TypeError: JSON Schema has no words for a type.
        ValueError: A direction has the name of one of the types.
    """
    schemas, types = msgspec.json.schema_components(
        directions.values(), ref_template=_PLACE + "{name}"
    )
    named = dict(zip(directions, schemas, strict=True))
    if twice := sorted(named.keys() & types.keys()):
        raise ValueError(
            f"the name of a direction is taken: {', '.join(twice)}"
        )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": named | types,
    }


def typescript(**directions: TypeForm[Any]) -> str:
    """Declare the messages of each direction in TypeScript.

    The types are those of JSON: bytes are text in base64. They say nothing of
    limits, so a message that fits its type may still be answered by an error.

    Args:
        directions: As for `json_schema()`.

    Returns:
        The text of a module with an exported type for each.

    Raises:
        TypeError: As for `json_schema()`.
        ValueError: As for `json_schema()`.
    """
    types = json_schema(**directions)["$defs"]
    return "\n".join(
        f"export type {_name(name)} = {_written(schema)};\n"
        for name, schema in types.items()
    )


def _name(type_name: str) -> str:
    return re.sub(r"\W", "_", type_name)


def _written(schema: Any) -> str:
    text = "unknown"
    match schema:
        case {"$ref": str(place)}:
            text = _name(place.removeprefix(_PLACE))
        case {"enum": values}:
            text = _union(map(json.dumps, values))
        case {"anyOf": kinds}:
            text = _union(map(_written, kinds))
        case {"type": "array", "prefixItems": kinds}:
            text = f"[{', '.join(map(_written, kinds))}]"
        case {"type": "array"}:
            text = f"Array<{_written(schema.get('items'))}>"
        case {"type": "object", "properties": fields}:
            text = _fields(fields, schema.get("required", []))
        case {"type": "object"}:
            values = schema.get("additionalProperties")
            text = f"Record<string, {_written(values)}>"
        case {"type": kind}:
            text = _PLAIN[kind]
    return text


def _union(kinds: Iterable[str]) -> str:
    union = " | ".join(kinds)
    return union if len(union) <= 60 else union.replace(" | ", "\n    | ")


def _fields(fields: dict[str, Any], required: list[str]) -> str:
    lines = ["{"]
    for name, schema in fields.items():
        key = name if name.isidentifier() else json.dumps(name)
        mark = "" if name in required else "?"
        lines.append(f"  {key}{mark}: {_written(schema)};")
    return "\n".join([*lines, "}"])
