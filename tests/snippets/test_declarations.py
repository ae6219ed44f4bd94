"""Clients read from a declaration what the server takes."""

from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
import pytest

from snippets.declarations import json_schema, typescript


class Say(msgspec.Struct, tag_field="type", tag="say"):
    text: Annotated[str, msgspec.Meta(max_length=500)]
    ref: int | str | None = None


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Draw(msgspec.Struct, tag_field="type", tag="draw"):
    colour: Colour
    points: list[tuple[float, int]]
    labels: dict[str, bool] = {}
    more: list[Any] | None = None
    by: str = msgspec.field(default="", name="drawn-by")
    side: Literal["left", 1] | None = None
    style: Literal[
        "dotted", "dashed", "solid", "double", "groove", "ridge"
    ] = "solid"


def test_a_direction_is_a_union_of_types_in_their_own_words():
    assert typescript(Client=Say | Draw, Server=Say) == (
        """\
export type Client = Say | Draw;

export type Server = Say;

export type Say = {
  type: "say";
  text: string;
  ref?: number | string | null;
};

export type Draw = {
  type: "draw";
  colour: Colour;
  points: Array<[number, number]>;
  labels?: Record<string, boolean>;
  more?: Array<unknown> | null;
  "drawn-by"?: string;
  side?: 1 | "left" | null;
  style?: "dashed"
    | "dotted"
    | "double"
    | "groove"
    | "ridge"
    | "solid";
};

export type Colour = "blue" | "red";
"""
    )


def test_anything_else_is_unknown_and_a_dict_may_hold_it():
    assert typescript(Any_=dict[str, Any]) == (
        "export type Any_ = Record<string, unknown>;\n"
    )
    assert typescript(Any_=dict) == (
        "export type Any_ = Record<string, unknown>;\n"
    )


def test_types_of_one_name_are_told_apart():
    class Inner:
        class Say(msgspec.Struct):
            inner: Say

    declared = typescript(Client=Inner.Say)
    names = [
        line.split()[2]
        for line in declared.splitlines()
        if line.startswith("export")
    ]
    assert len(set(names)) == 3
    assert all(name.isidentifier() for name in names)
    assert f"inner: {names[-1]};" in declared


def test_the_schema_is_whole():
    schema = json_schema(Client=Say | Draw)
    assert schema["$schema"].endswith("/2020-12/schema")
    assert list(schema["$defs"]) == ["Client", "Say", "Draw", "Colour"]
    assert schema["$defs"]["Client"]["anyOf"] == [
        {"$ref": "#/$defs/Say"},
        {"$ref": "#/$defs/Draw"},
    ]
    assert schema["$defs"]["Say"]["required"] == ["type", "text"]
    assert schema["$defs"]["Say"]["properties"]["text"]["maxLength"] == 500


def test_a_direction_cannot_have_the_name_of_a_type():
    with pytest.raises(ValueError, match="the name of a direction is taken"):
        json_schema(Say=Say)


def test_what_json_schema_has_no_words_for_is_an_error():
    with pytest.raises(TypeError):
        typescript(Client=complex)
