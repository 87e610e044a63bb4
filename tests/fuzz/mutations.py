"""Damaged inputs from valid ones: what the fuzz tests and benchmarks/fuzz.py share.

Every function takes the random numbers as an argument, and the same ones make the same input.
"""

import gzip
import json
import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

__all__ = [
    "damage_bytes",
    "damage_json",
    "damage_nifti",
    "damage_text_header",
    "gzip_bomb",
    "strange_words",
    "valid_nifti",
]

RAW = {  # placeholder in the text -> JSON that Python's own writer does not make
    '"@inf"': "1e999",
    '"@nan"': "NaN",
    '"@minus"': "-Infinity",
    '"@deep"': "[" * 3000 + "]" * 3000,
    '"@deep_object"': '{"a":' * 400 + "1" + "}" * 400,
    '"@digits"': "9" * 5000,
    '"@lone"': '"\\ud800x"',
    '"@twice"': '{"name": 1, "name": 2}',
}
STRANGE: tuple[Any, ...] = (
    *(word.strip('"') for word in RAW),
    None, True, False, 0, 1, -1, 2, 3, 7, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63), 10**30, 10**400,
    0.5, -0.0, -1.5, 1e-320, 1e-30, 1e38, 1e300, -1e308,
    "", " ", "x", "0", "-1", "nan", "inf", "\0", "\x7f", "a\nb", "é" * 50, "日本", "../../..",
    "/etc/passwd", "x" * 3000, "Dataset001_X", "all", "kind", "axial", "CT",
    [], {}, [[]], [None], [0], [1, 2, 3], ["a", "a"], {"": 0}, {"kind": []}, {"kind": {}},
    {"kind": "Plan"}, {"mean": None}, {"a": {"b": {"c": [1]}}},
)  # fmt: skip
LARGE = 1e200  # numbers beyond it are not multiplied
WORDS: tuple[str, ...] = (
    "", " ", "0", "1", "-1", "2", "nan", "inf", "-inf", "1e999", "0x10", "1_000", "²", "٣", "½",
    "9" * 5000, "1" + "0" * 20, "1.5", "-0", "1e3", "true", "null", "None", "[]", "{}", "[[[",
    "[" * 3000, '{"a": 1}', "../..", "/", "/etc/passwd", "/dev/null", ".", "a b", "a=b", "=",
    "a=", "=1", "x" * 300, "é", "日本", "\udcff", "a\nb", "all", "--", "cpu", "cuda:99", "meta",
    "%s", "{0}", "$(id)",
)  # fmt: skip


def strange_words() -> Sequence[str]:
    """Texts for places that take a number, a name or a path."""
    return WORDS


# --- JSON ---


def damage_json(rng: Random, data: Any, *, edits: int | None = None) -> bytes:
    """The text of a JSON file with one to three places changed, and perhaps its bytes too."""
    node = json.loads(json.dumps(data))
    for _ in range(rng.choice((1, 1, 1, 2, 3)) if edits is None else edits):
        node = _edit(rng, node)
    text = json.dumps(node)
    for placeholder, raw in RAW.items():
        text = text.replace(placeholder, raw)
    if rng.random() < 0.04:
        text = _twice(rng, text)
    content = text.encode("utf-8", "surrogatepass")
    chance = rng.random()
    if chance < 0.02:
        return b"\xef\xbb\xbf" + content
    if chance < 0.03:
        return text.encode(rng.choice(("utf-16", "utf-32", "utf-16-le")), "replace")
    return damage_bytes(rng, content) if chance < 0.12 else content


def _edit(rng: Random, root: Any) -> Any:
    """The tree with one node changed."""
    places = [(holder, key) for holder in _holders(root) for key in _keys(holder)]
    if not places or rng.random() < 0.01:
        return _strange(rng)
    holder, key = rng.choice(places)
    chance = rng.random()
    if chance < 0.15:
        del holder[key]
    elif chance < 0.25 and isinstance(holder, dict):
        name = rng.choice((key + "x", key[:-1], key.upper(), "kind", "", "x" * 500, "a.b", "0"))
        holder[name] = holder.pop(key)
    elif chance < 0.3 and isinstance(holder, list):
        holder.insert(key, holder[key])
    elif chance < 0.4:
        other_holder, other_key = rng.choice(places)
        holder[key] = json.loads(json.dumps(other_holder[other_key]))
    elif chance < 0.6 and isinstance(holder[key], int | float) and abs(holder[key]) < LARGE:
        factor = rng.choice((0, -1, 2, 1e3, 1e9, 1e-9))
        holder[key] = type(holder[key])(holder[key] * factor)
    elif chance < 0.63 and isinstance(holder, dict):
        holder[rng.choice(("x", "kind", "name", "version", key + "2"))] = _strange(rng)
    else:
        holder[key] = _strange(rng)
    return root


def _strange(rng: Random) -> Any:
    value = rng.choice(STRANGE)
    return json.loads(json.dumps(value)) if isinstance(value, dict | list) else value


def _holders(node: Any) -> list[Any]:
    found, waiting = [], [node]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict | list):
            found.append(item)
            waiting += item.values() if isinstance(item, dict) else item
    return found


def _keys(holder: Any) -> list[Any]:
    return list(holder) if isinstance(holder, dict) else list(range(len(holder)))


def _twice(rng: Random, text: str) -> str:
    """The text with the first key of some object written twice."""
    places = [i for i, letter in enumerate(text[:-3]) if letter == "{" and text[i + 1] == '"']
    if not places:
        return text
    place = rng.choice(places)
    key = text[place + 1 : text.index('"', place + 2) + 1]
    return f"{text[: place + 1]}{key}: {rng.choice(('0', 'null', '[]'))}, {text[place + 1 :]}"


# --- bytes ---


def damage_bytes(rng: Random, content: bytes, *, start: int = 0) -> bytes:
    """The bytes with some flipped, cut off, taken out, put in or written over, from `start` on."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if len(data) <= start:
            return bytes(data)
        place = rng.randrange(start, len(data))
        kind = rng.randrange(6)
        if kind <= 1:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 2:
            data[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x20, 0x0A, 0x5B))
        elif kind == 3:
            del data[place : place + rng.choice((1, 4, 64))]
        elif kind == 4:
            data[place:place] = rng.randbytes(rng.choice((1, 4, 64)))
        elif rng.random() < 0.3:
            del data[place:]
    return bytes(data)


# --- NIfTI ---

NIFTI1: dict[str, tuple[str, int]] = {  # nifti1.h: field -> struct code, offset
    "sizeof_hdr": ("i", 0), "dim": ("h8", 40), "intent_code": ("h", 68), "datatype": ("h", 70),
    "bitpix": ("h", 72), "pixdim": ("f8", 76), "vox_offset": ("f", 108), "slope": ("f", 112),
    "inter": ("f", 116), "units": ("B", 123), "qform_code": ("h", 252), "sform_code": ("h", 254),
    "quatern": ("f3", 256), "qoffset": ("f3", 268), "srow": ("f12", 280), "magic": ("B4", 344),
    "extension": ("B4", 348),
}  # fmt: skip
NIFTI2: dict[str, tuple[str, int]] = {  # nifti2.h
    "sizeof_hdr": ("i", 0), "magic": ("B8", 4), "datatype": ("h", 12), "bitpix": ("h", 14),
    "dim": ("q8", 16), "pixdim": ("d8", 104), "vox_offset": ("q", 168), "slope": ("d", 176),
    "inter": ("d", 184), "qform_code": ("i", 344), "sform_code": ("i", 348),
    "quatern": ("d3", 352), "qoffset": ("d3", 376), "srow": ("d12", 400), "units": ("i", 500),
    "intent_code": ("i", 504), "extension": ("B4", 540),
}  # fmt: skip
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-30, 1e-6, 1e6, 1e20, 3e38, -3e38, float("nan"),
          float("inf"), -float("inf"), 100.0, 352.0, 544.0, 1e12)  # fmt: skip
INTEGERS = (0, 1, -1, 2, 3, 4, 5, 7, 8, 16, 32, 64, 128, 255, 256, 512, 768, 1024, 1280, 1536,
            1792, 2048, 2304, 32767, -32768, 2**31 - 1, -(2**31), 10**12, 2**62)  # fmt: skip


def valid_nifti(
    values: Sequence[float], dim: Sequence[int], *, version: int = 1, order: str = "<"
) -> bytes:
    """A plain float32 NIfTI file of these voxels, first axis fastest."""
    header = bytearray(348 if version == 1 else 540)
    fields = NIFTI1 if version == 1 else NIFTI2

    def put(name: str, *numbers: float | int) -> None:
        code, offset = fields[name]
        struct.pack_into(f"{order}{len(numbers)}{code[0]}", header, offset, *numbers)

    put("sizeof_hdr", len(header))
    put("dim", 3, *dim, 1, 1, 1, 1)
    put("datatype", 16)
    put("bitpix", 32)
    put("pixdim", 1, 1.5, 2.0, 2.5, 0, 0, 0, 0)
    put("vox_offset", len(header) + 4)
    put("slope", 1)
    put("units", 2)
    put("sform_code", 1)
    put("srow", 1.5, 0, 0, -10, 0, 2.0, 0, -20, 0, 0, 2.5, 30)
    put("quatern", 0, 0, 0)
    put("magic", *(b"n+1\0" if version == 1 else b"n+2\0\r\n\x1a\n"))
    return bytes(header) + bytes(4) + struct.pack(f"{order}{len(values)}f", *values)


def damage_nifti(rng: Random, content: bytes) -> bytes:
    """An uncompressed NIfTI file with one to four header fields changed, perhaps compressed."""
    data = bytearray(content)
    sizes = {348: NIFTI1, 540: NIFTI2}
    order = "<" if int.from_bytes(data[:4], "little") in sizes else ">"
    size = int.from_bytes(data[:4], "little" if order == "<" else "big")
    for _ in range(rng.choice((1, 1, 2, 4))):
        name = rng.choice(list(sizes.get(size, NIFTI1)))
        code, offset = sizes.get(size, NIFTI1)[name]
        letter, count = code[0], int(code[1:] or 1)
        width = struct.calcsize(letter)
        place = offset + width * rng.randrange(count)
        if len(data) < place + width:
            continue
        if letter in "fd":
            value = rng.choice(FLOATS) if rng.random() < 0.8 else rng.uniform(-2, 2)
            data[place : place + width] = struct.pack(order + letter, value)
        else:
            number = rng.choice(INTEGERS) if rng.random() < 0.8 else rng.randrange(-5, 60)
            data[place : place + width] = (number % 2 ** (8 * width)).to_bytes(
                width, "little" if order == "<" else "big"
            )
    return bytes(data)


def compressed(rng: Random, content: bytes) -> bytes:
    """The bytes as gzip: of one member, of several, with something behind, or damaged."""
    chance = rng.random()
    if chance < 0.3:
        step = rng.choice((1, 100, 400, 5000))
        parts = [content[i : i + step] for i in range(0, len(content), step)][:3000]
        return b"".join(gzip.compress(part, 1) for part in parts)
    packed = gzip.compress(content, rng.choice((0, 1, 9)))
    if chance < 0.4:
        return packed + rng.choice((b"\0" * 512, b"\x1f\x8b", packed, gzip.compress(b"") * 500))
    return damage_bytes(rng, packed) if chance < 0.7 else packed


def gzip_bomb(header: bytes, expanded: int) -> bytes:
    """A gzip file that begins with `header` and goes on with so many zeros."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    parts, block = [packer.compress(header)], bytes(2**20)
    parts += [packer.compress(block) for _ in range(expanded // 2**20)]
    return b"".join((*parts, packer.flush()))


# --- headers of lines ---


def damage_text_header(
    rng: Random, content: bytes, *, end: bytes, fields: Sequence[bytes]
) -> bytes:
    """An MHA or NRRD file whose header lines are changed, up to the one with `end`."""
    split = content.index(end) + len(end)
    stop = content.index(b"\n", split - 1) + 1
    lines, rest = content[:stop].split(b"\n")[:-1], content[stop:]
    for _ in range(rng.choice((1, 1, 2, 3))):
        if not lines:
            break
        place = rng.randrange(len(lines))
        kind = rng.randrange(8)
        if kind == 0:
            del lines[place]
        elif kind == 1:
            lines.insert(place, rng.choice(fields))
        elif kind == 2:
            lines.insert(place, lines[place])
        elif kind == 3:
            lines[place] = damage_bytes(rng, lines[place])
        else:
            lines[place] = _change_value(rng, lines[place])
    return b"\n".join(lines) + b"\n" + rest


def _change_value(rng: Random, line: bytes) -> bytes:
    """A line "name = values" or "name: values" with one of its values another."""
    mark = b"=" if b"=" in line else b":"
    name, found, text = line.partition(mark)
    words = text.split()
    if not found or not words:
        return line + rng.choice((b" 1", b"=", b":"))
    odd = (b"0", b"-1", b"nan", b"inf", b"1e308", b"1e-320", b"99999999999", b"10000", b"x", b"",
           b"1" * 400, b"(1,2", b"none", b"-0", b"1e12", b"2", b"3", b"4")  # fmt: skip
    place = rng.randrange(len(words))
    if rng.random() < 0.2:
        words.insert(place, rng.choice(odd))
    elif rng.random() < 0.1:
        del words[place]
    else:
        words[place] = rng.choice(odd)
    return name + found + b" " + b" ".join(words)


def pick(rng: Random, ways: Sequence[Callable[[Random, bytes], bytes]], content: bytes) -> bytes:
    """The content damaged in one of several ways."""
    return rng.choice(ways)(rng, content)
