"""Rows as CSV and JSON: doubles in shortest form that reads back, times with all their digits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.errors import SqlError

SLICE = 16_384  # rows that become text at once
_MARKS = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def csv_header(schema: pa.Schema, delimiter: str = ",") -> bytes:
    """The names of the columns."""
    names = _quoted(pa.array(schema.names, pa.string()), delimiter, "")
    return (delimiter.join(names.to_pylist()) + "\n").encode()


def csv_lines(batch: pa.RecordBatch, delimiter: str = ",", null: str = "") -> bytes:
    """A line for each row; an empty text is quoted, which NULL is not."""
    return b"".join(_csv(part, delimiter, null) for part in _slices(batch))


def json_lines(batch: pa.RecordBatch) -> bytes:
    """An object for each row; NaN and the infinities, which JSON lacks, are texts."""
    return b"".join(_bytes(_object(_named(part), part.num_rows)) for part in _slices(batch))


def _slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for begin in range(0, batch.num_rows, SLICE):
        yield batch.slice(begin, SLICE)


def _bytes(lines: pa.StringArray) -> memoryview:
    """Texts and a line break behind each; an array has them side by side."""
    whole = pc.binary_join_element_wise(lines, "", "\n")
    offsets = memoryview(whole.buffers()[1]).cast("i")
    begin, end = offsets[whole.offset], offsets[whole.offset + len(whole)]
    return memoryview(whole.buffers()[2])[begin:end]


# ---------------------------------------------------------------- CSV


def _csv(batch: pa.RecordBatch, delimiter: str, null: str) -> memoryview:
    cells = []
    for column in batch.columns:
        found = texts(column)
        if _is_free(column.type):
            found = _quoted(found, delimiter, null)
        cells.append(found)
    if len(cells) == 1:  # an empty line is no row for most readers
        return _bytes(cells[0].fill_null(null or '""'))
    return _bytes(
        pc.binary_join_element_wise(
            *cells, delimiter, null_handling="replace", null_replacement=null
        )
    )


def _is_free(kind: pa.DataType) -> bool:
    """Whether a value may have a delimiter or a quote in its text."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(_is_text(kind) or pa.types.is_nested(kind))


def _quoted(values: pa.StringArray, delimiter: str, null: str) -> pa.StringArray:
    """Texts in quotes, those that need them."""
    needs = pc.match_substring_regex(values, f'["\r\n{_class(delimiter)}]')
    needs = pc.or_(needs, pc.equal(values, null))
    if not pc.any(needs).as_py():
        return values
    inside = pc.replace_substring(values, '"', '""')
    return pc.if_else(needs, pc.binary_join_element_wise('"', inside, '"', ""), values)


def _class(character: str) -> str:
    return f"\\{character}" if character in "^]\\-[|" else character


# ---------------------------------------------------------------- one value as text


def texts(array: pa.Array) -> pa.StringArray:
    """Each value as text; NULL stays NULL.

    Raises:
        SqlError: there is no text for values of this type.
    """
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return texts(array.storage)
    if pa.types.is_dictionary(kind):
        return texts(array.dictionary).take(array.indices)
    for test, make in _TEXTS:
        if test(kind):
            return make(array)
    raise SqlError(f"values of type {kind} have no text: cast them to VARCHAR or to a number")


def _floats(array: pa.Array) -> pa.StringArray:
    if pa.types.is_float16(array.type):
        array = array.cast(pa.float32())
    found = array.cast(pa.string())
    whole = pc.match_substring_regex(found, "^-?[0-9]+$")  # a reader must see that it is a double
    found = pc.if_else(whole, pc.binary_join_element_wise(found, ".0", ""), found)
    finite = pc.is_finite(array)
    if pc.all(finite).as_py() is not False:
        return found
    endless = pc.if_else(pc.less(array, pa.scalar(0, array.type)), "-Infinity", "Infinity")
    return pc.if_else(finite, found, pc.if_else(pc.is_nan(array), "NaN", endless))


def _decimals(array: pa.Array) -> pa.StringArray:
    found = array.cast(pa.string())
    if pc.any(pc.match_substring(found, "E")).as_py():  # Arrow writes 0E-8
        return pa.array([None if v is None else f"{v:f}" for v in array.to_pylist()], pa.string())
    return found


def _times(array: pa.Array) -> pa.StringArray:
    if array.type.tz is not None:
        array = array.cast(pa.timestamp(array.type.unit, "UTC"))
    return pc.replace_substring(array.cast(pa.string()), " ", "T", max_replacements=1)


def _hexadecimal(array: pa.Array) -> pa.StringArray:
    return pa.array([None if v is None else v.hex() for v in array.to_pylist()], pa.string())


def _nested(array: pa.Array) -> pa.StringArray:
    return pc.if_else(array.is_valid(), json_texts(array), None)


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _is_binary(kind: pa.DataType) -> bool:
    return kind == pa.binary_view() or bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _cast(array: pa.Array) -> pa.StringArray:
    return array.cast(pa.string())


_TEXTS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], pa.StringArray]], ...] = (
    (_is_text, _cast),
    (pa.types.is_floating, _floats),
    (pa.types.is_decimal, _decimals),
    (pa.types.is_timestamp, _times),
    (pa.types.is_date64, lambda array: _cast(array.cast(pa.date32()))),
    (_is_binary, _hexadecimal),
    (pa.types.is_boolean, _cast),
    (pa.types.is_integer, _cast),
    (pa.types.is_date32, _cast),
    (pa.types.is_time, _cast),
    (pa.types.is_duration, _cast),
    (pa.types.is_null, _cast),
    (pa.types.is_struct, _nested),
    (pa.types.is_map, _nested),
    (_is_list, _nested),
)


# ---------------------------------------------------------------- one value as JSON


def json_texts(array: pa.Array) -> pa.StringArray:
    """Each value as JSON; NULL is `null`."""
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return json_texts(array.storage)
    if pa.types.is_dictionary(kind):
        return json_texts(array.dictionary).take(array.indices).fill_null("null")
    if pa.types.is_struct(kind):
        fields = zip((f.name for f in kind), array.flatten(), strict=True)
        found = _object(list(fields), len(array))
    elif _is_list(kind):
        found = _around("[", _joined(array.flatten(), pc.list_value_length(array)), "]")
    elif pa.types.is_map(kind):
        found = _around("{", _entries(array), "}")
    else:
        found = texts(array)
        if pa.types.is_floating(kind):
            found = pc.if_else(pc.is_finite(array), found, _around('"', found, '"'))
        elif _is_text(kind):
            found = _around('"', _escaped(found), '"')
        elif not (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
            if not pa.types.is_duration(kind):
                found = _around('"', found, '"')
    return pc.if_else(array.is_valid(), found, "null")


def _around(before: str, values: pa.StringArray, behind: str) -> pa.StringArray:
    return pc.binary_join_element_wise(before, values, behind, "")


def _named(batch: pa.RecordBatch) -> list[tuple[str, pa.Array]]:
    return list(zip(batch.schema.names, batch.columns, strict=True))


def _object(fields: list[tuple[str, pa.Array]], rows: int) -> pa.StringArray:
    if not fields:
        return pa.array(["{}"] * rows, pa.string())
    members = []
    for name, values in fields:
        members.append(_around(f"{json.dumps(name, ensure_ascii=False)}: ", json_texts(values), ""))
    return _around("{", pc.binary_join_element_wise(*members, ", "), "}")


def _joined(values: pa.Array, lengths: pa.Array) -> pa.StringArray:
    """The values of each list, one behind the other."""
    ends = pc.cumulative_sum(lengths.cast(pa.int32()).fill_null(0))
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    return pc.binary_join(pa.ListArray.from_arrays(offsets, json_texts(values)), ", ")


def _entries(array: pa.MapArray) -> pa.StringArray:
    """The members of each map; its keys become texts."""
    offsets = array.offsets
    begin, end = offsets[0].as_py(), offsets[-1].as_py()
    keys, items = array.keys.slice(begin, end - begin), array.items.slice(begin, end - begin)
    names = _around('"', _escaped(texts(keys)), '"')
    members = pc.binary_join_element_wise(names, json_texts(items), ": ")
    moved = pc.subtract(offsets, offsets[0])
    return pc.binary_join(pa.ListArray.from_arrays(moved, members), ", ")


def _escaped(values: pa.StringArray) -> pa.StringArray:
    if not pc.any(pc.match_substring_regex(values, '["\\\\\x01-\x1f]|\\x00')).as_py():
        return values
    for character, escape in _MARKS.items():
        values = pc.replace_substring(values, character, escape)
    if pc.any(pc.match_substring_regex(values, "[\x01-\x1f]|\\x00")).as_py():
        for code in range(32):
            values = pc.replace_substring(values, chr(code), f"\\u{code:04x}")
    return values
