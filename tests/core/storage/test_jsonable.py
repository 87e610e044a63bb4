"""Dataclasses to strict JSON and back."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pytest

from liftnet.core.errors import PlanError
from liftnet.core.storage.jsonable import (
    from_json,
    read_json,
    replace_path,
    to_json,
    write_json,
    write_sealed,
)


@dataclass(frozen=True)
class Circle:
    """One shape."""

    radius: float


@dataclass(frozen=True)
class Box:
    """Another shape."""

    sides: tuple[int, int, int]


@dataclass(frozen=True)
class Drawing:
    """Everything that a plan may hold."""

    name: str
    mode: Literal["fill", "line"]
    shapes: dict[str, Circle | Box]
    points: tuple[float, ...] = ()
    tags: list[str] = field(default_factory=list)
    scale: float | None = None
    visible: bool = True


DRAWING = Drawing("d", "fill", {"a": Circle(1.5), "b": Box((1, 2, 3))}, (1.0, 2.5), ["x"], 2.0)


def test_round_trip(tmp_path):
    """What is written is what is read, types included."""
    write_json(tmp_path / "deep" / "d.json", DRAWING)
    assert from_json(Drawing, read_json(tmp_path / "deep" / "d.json"), where="d.json") == DRAWING
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["d.json"]


def test_readable(tmp_path):
    """Long values get a line per key, short ones stay on one line."""
    write_json(tmp_path / "d.json", {"numbers": list(range(3)), "text": "x" * 90})
    assert (tmp_path / "d.json").read_text().splitlines()[1] == ' "numbers": [0, 1, 2],'


def test_numbers():
    """Numpy scalars become numbers; what JSON cannot hold becomes null or is refused."""
    assert to_json({"a": np.float32(1.5), "b": np.int64(3), "c": float("nan")}) == {
        "a": 1.5,
        "b": 3,
        "c": None,
    }
    with pytest.raises(TypeError, match="expected a dataclass or a JSON type, got object"):
        to_json(object())


@pytest.mark.parametrize(
    ("change", "where", "text"),
    [
        ({"nam": 1}, "d", "^Unknown key 'nam'\n"),
        ({"name": 3}, "d.name", "Expected a text, got 3"),
        ({"mode": "dots"}, "d.mode", "Expected one of 'fill', 'line', got \"dots\""),
        ({"shapes": []}, "d.shapes", r"Expected an object, got \[\]"),
        ({"shapes": {"a": {"kind": "Star"}}}, "d.shapes.a.kind", "Expected one of Circle, Box"),
        (
            {"shapes": {"a": {"kind": "Box", "sides": [1, 2]}}},
            "d.shapes.a.sides",
            "Expected a list of 3",
        ),
        (
            {"shapes": {"a": {"kind": "Box", "sides": [1, 2, 0.5]}}},
            "d.shapes.a.sides[2]",
            "Expected a whole number, got 0.5",
        ),
        ({"points": [True]}, "d.points[0]", "Expected a number, got true"),
        ({"visible": 1}, "d.visible", "Expected true or false, got 1"),
        ({"kind": "Other"}, "d.kind", "Expected Drawing"),
    ],
)
def test_wrong_values_are_located(change, where, text):
    """An unknown key or a wrong value is refused with its place."""
    with pytest.raises(PlanError, match=text) as caught:
        from_json(Drawing, {**to_json(DRAWING), **change}, where="d")
    assert caught.value.where == where


def test_suggestions():
    """A misspelt key is met with the right one, a missing key by its name."""
    data = to_json(DRAWING)
    with pytest.raises(PlanError) as caught:
        from_json(Drawing, {**data, "visibel": True}, where="d")
    assert caught.value.remedy == "Did you mean 'visible'?"
    del data["mode"]
    with pytest.raises(PlanError, match=r"^Key 'mode' is missing\n"):
        from_json(Drawing, data, where="d")


def test_replace_path():
    """One setting is replaced and checked; the original stays."""
    changed = replace_path(DRAWING, "shapes.b.sides.1", 7)
    assert changed.shapes["b"] == Box((1, 7, 3))
    assert DRAWING.shapes["b"] == Box((1, 2, 3))
    with pytest.raises(PlanError, match=r"No setting 'shapes\.b\.side'") as caught:
        replace_path(DRAWING, "shapes.b.side", 7)
    assert caught.value.where == "shapes.b"
    assert caught.value.remedy == "Did you mean 'shapes.b.sides'?"
    with pytest.raises(PlanError, match=r"No setting 'drawing\.shapes\.c\.sides\.1'") as caught:
        replace_path(DRAWING, "shapes.c.sides.1", 7, of="drawing")
    assert caught.value.where == "drawing.shapes"
    with pytest.raises(PlanError, match=r"No setting 'shapes\.b\.sides\.1\.x'") as caught:
        replace_path(DRAWING, "shapes.b.sides.1.x", 7)
    assert caught.value.remedy == "It is 2: set it as a whole."
    with pytest.raises(PlanError, match="Expected a whole number") as caught:
        replace_path(DRAWING, "shapes.b.sides.1", "7", of="drawing")
    assert caught.value.where == "drawing.shapes.b.sides[1]"


def test_places_name_the_file(tmp_path):
    """With its whole path, and then the keys; no message names a class of the program."""
    path = tmp_path / "drawing.json"
    for data, place in (({"nam": 1}, f"{path}"), ({"name": 3}, f"{path}: name"), ([], f"{path}")):
        with pytest.raises(PlanError) as caught:
            from_json(Drawing, data, where=path)
        assert caught.value.where == place and "Drawing" not in str(caught.value)


def test_unreadable_files(tmp_path):
    """A missing file and a file that is not JSON are plan errors."""
    with pytest.raises(PlanError, match=r"(?s)File not found.*no\.json"):
        read_json(tmp_path / "no.json")
    (tmp_path / "x.json").write_text("{'a': 1}")
    with pytest.raises(PlanError, match="Not a JSON file"):
        read_json(tmp_path / "x.json")


def test_a_flipped_bit_is_no_other_value(tmp_path):
    """Of a sealed file: each bit is either of no meaning, or missed."""
    values = {"version": 1, "rate": 0.25, "names": ["a", "b"], "box": [1, 2, 3], "on": True}
    path = tmp_path / "x.json"
    write_sealed(path, values)
    assert read_json(path) == values
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            path.write_bytes(bytes(damaged))
            try:
                found = read_json(path)
            except PlanError:
                continue
            assert {name: found.get(name) for name in values} == values, (place, bit)
    path.write_text(whole.decode().replace("0.25", "0.5"))
    with pytest.raises(PlanError, match="damaged, or was edited: its checksum differs") as caught:
        read_json(path)
    assert 'delete its line "checksum"' in str(caught.value)
    edited = [line for line in path.read_text().splitlines(keepends=True) if "checksum" not in line]
    path.write_text("".join(edited).replace("true,", "true"))
    assert read_json(path) == {**values, "rate": 0.5}
