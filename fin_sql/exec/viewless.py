"""Rows without Arrow's view types, which Arrow itself cannot take rows of."""

from __future__ import annotations

import pyarrow as pa

_PLAIN = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}


def viewless_type(kind: pa.DataType) -> pa.DataType:
    """A type in which texts and bytes are plain, also inside of others."""
    if pa.types.is_dictionary(kind):
        values = viewless_type(kind.value_type)
        # Arrow casts to dictionaries without an order alone; nothing here asks for it.
        return kind if values == kind.value_type else pa.dictionary(kind.index_type, values)
    if pa.types.is_struct(kind):
        return pa.struct([viewless_field(kind.field(k)) for k in range(kind.num_fields)])
    if pa.types.is_map(kind):
        return pa.map_(viewless_field(kind.key_field), viewless_field(kind.item_field))
    if pa.types.is_list(kind):
        return pa.list_(viewless_field(kind.value_field))
    if pa.types.is_large_list(kind):
        return pa.large_list(viewless_field(kind.value_field))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(viewless_field(kind.value_field), kind.list_size)
    return _PLAIN.get(kind, kind)


def viewless_field(field: pa.Field) -> pa.Field:
    """A field of a plain type."""
    return field.with_type(viewless_type(field.type))


def viewless_schema(schema: pa.Schema) -> pa.Schema:
    """The same names in plain types."""
    return pa.schema([viewless_field(field) for field in schema], schema.metadata)


def viewless(array: pa.Array) -> pa.Array:
    """The same values in a plain type."""
    kind = viewless_type(array.type)
    return array if kind == array.type else array.cast(kind)


def viewless_table(table: pa.Table) -> pa.Table:
    """The same rows in plain types."""
    schema = viewless_schema(table.schema)
    return table if schema == table.schema else table.cast(schema)
