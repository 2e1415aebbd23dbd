"""The calls of a window: kernels, and the standard functions with their frames and types."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fin_sql.abi import Bound
from fin_sql.columns import Column, arrow_type, column
from fin_sql.exec.lookahead import padded
from fin_sql.exec.standard import FRAMED, LAG, NTH_VALUE, NUMBERS_OF, ROW_NUMBER, bind
from fin_sql.registry import KERNELS, lookup


@dataclass(frozen=True)
class Frame:
    """How far a standard window function looks back.

    Args:
        unit: "rows", or "range" of the order column.
        start: rows before the current one, or nanoseconds (for integers their unit); None is all.
        end: the same of the frame's end; 0 is the current row, with its peers in a range.
    """

    unit: Literal["rows", "range"]
    start: int | None
    end: int = 0


@dataclass(frozen=True)
class Call:
    """One call of a window.

    Args:
        kernel: a kernel's SQL name, or a standard function of STANDARD.
        args: names of the input columns; `count` without any counts rows.
        name: of the output column.
        params: the constants, by name; of `lag` offset and default, of `nth_value` n.
        frame: of a standard function; None is SQL's default: all rows before, and the peers.
        ignore_nulls: IGNORE NULLS of lag, first_value, last_value and nth_value.
        kept: of an aggregate, a column: rows where it is not true are left out.
    """

    kernel: str
    args: tuple[str, ...]
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    frame: Frame | None = None
    ignore_nulls: bool = False
    kept: str = ""


NUMBERS = ("sum", "avg", "stddev_samp", "stddev_pop", "var_samp", "var_pop")
JOINT = ("corr", "covar_samp", "covar_pop")
VALUES = ("first_value", "last_value")
STANDARD = frozenset(
    {"row_number", "lag", "nth_value", "count", "min", "max", *NUMBERS, *JOINT, *VALUES}
)


def supports(call: Call, types: Sequence[pa.DataType]) -> bool:
    """Whether KernelWindow computes a standard call over arguments of these types."""
    name, frame = call.kernel, call.frame
    counts = {"row_number": (0,), "count": (0, 1), **dict.fromkeys(JOINT, (2,))}
    if name not in STANDARD or len(types) not in counts.get(name, (1,)):
        return False
    if call.ignore_nulls and name not in ("lag", "nth_value", *VALUES):
        return False
    if frame and (frame.end < 0 or (frame.start is not None and frame.start < frame.end)):
        return False
    if frame and frame.unit == "range" and frame.end:
        return False
    if name == "row_number" or name == "count":
        return name == "count" or frame is None
    if name in ("lag", "nth_value"):
        if frame or not _is_cell(types[0]):
            return False
        return _whole(call.params.get("offset", 1), 0) and _whole(call.params.get("n", 1), 1)
    if name in VALUES:
        return _is_cell(types[0])
    if name in ("min", "max"):
        return _is_cell(types[0]) and not pa.types.is_boolean(types[0])
    return all(pa.types.is_floating(t) or pa.types.is_signed_integer(t) for t in types)


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= 1_000_000


def _is_cell(kind: pa.DataType) -> bool:
    """Whether values of a type fit 8 bytes as they are."""
    test = pa.types
    return bool(
        test.is_signed_integer(kind) or test.is_floating(kind) or test.is_timestamp(kind)
        or test.is_date(kind) or test.is_boolean(kind)
    )  # fmt: skip


def standard_type(
    name: str, types: Sequence[pa.DataType], params: Mapping[str, Any] | None = None
) -> pa.DataType:
    """The type of a standard call, as DataFusion has it."""
    if name == "row_number":
        return pa.uint64()
    if name == "count":
        return pa.int64()
    if name in ("lag", "nth_value", "min", "max", *VALUES):
        return types[0]
    if name == "sum" and pa.types.is_integer(types[0]):
        return pa.int64()
    return pa.float64()


class Computed:
    """What KernelWindow does for a call: a bound kernel, its columns and its output.

    Args:
        call: the call.
        schema: of the input.
        order_by: the order columns; the first is the time of a RANGE frame.
    """

    def __init__(self, call: Call, schema: pa.Schema, order_by: Sequence[str]) -> None:
        self.call = call
        self.standard = call.kernel not in KERNELS and call.kernel in STANDARD
        self.whole_ties = False
        if not self.standard:
            kernel = lookup(call.kernel)
            self.bound: Bound = kernel.bind(**call.params)
            self.type = arrow_type(kernel.spec.returns)
            self._readers = [
                _reader(name, arg.type, f"{kernel.spec.who}: argument '{arg.name}'")
                for name, arg in zip(call.args, kernel.spec.args, strict=True)
            ]
            return
        types = [schema.field(name).type for name in call.args]
        self._types = [str(kind) for kind in types]
        self.type = standard_type(call.kernel, types, call.params)
        self.bound, self._time = self._standard(types, order_by)

    @property
    def identity(self) -> tuple[Any, ...]:
        """What its state is the state of."""
        if not self.standard:
            spec = self.bound.kernel.spec
            return spec.name, spec.version, sorted(self.bound.params.items()), self.call.args
        frame, name = self.call.frame, self.bound.kernel.spec.name
        params = sorted(self.bound.params.items())
        return name, frame, params, self.call.args, self._types, self._time

    def _standard(self, types: list[pa.DataType], order_by: Sequence[str]) -> Any:
        call = self.call
        if call.kernel == "row_number":
            return bind(ROW_NUMBER), None
        if call.kernel == "lag":
            default = call.params.get("default")
            return bind(
                LAG,
                offset=call.params.get("offset", 1),
                ignore_nulls=int(call.ignore_nulls),
                has_default=int(default is not None),
                default=0 if default is None else _bits(default, types[0]),
            ), None
        self.whole_ties = call.frame is None or call.frame.unit == "range"
        if call.kernel == "nth_value":
            params = {"n": call.params.get("n", 1), "ignore_nulls": int(call.ignore_nulls)}
            return bind(NTH_VALUE, **params), None
        name = call.kernel
        whole = bool(types) and not pa.types.is_floating(types[0])
        if whole:
            name = {"sum": "total", "min": "least", "max": "most"}.get(name, name)
        if call.ignore_nulls:
            name = f"known_{name}"
        frame = call.frame or Frame("rows", None)
        given = {"rows_back": 0, "end_back": 0, "time_back": 0, "numbers": NUMBERS_OF[name]}
        if frame.start is None:
            return bind(FRAMED[name, "rows"], **{**given, "end_back": frame.end}), None
        if frame.unit == "rows":
            given |= {"rows_back": frame.start - frame.end + 1, "end_back": frame.end}
            return bind(FRAMED[name, "rows"], **given), None
        return bind(FRAMED[name, "range"], **{**given, "time_back": frame.start}), order_by[0]

    def columns(self, rows: pa.RecordBatch, more: int = 0) -> list[Column]:
        """Its arguments as cells; of a kernel that looks ahead with missing rows behind them."""
        if more:
            rows = pa.record_batch({name: padded(rows[name], more) for name in self.call.args})
        if not self.standard:
            return [read(rows) for read in self._readers]
        found = self.flagged(rows)
        n_args = len(self.bound.kernel.spec.args)
        while len(found) < min(n_args, 3):
            found.append(found[-1] if len(found) > 1 else found[0])
        if self._time is not None:
            found.append(column(rows[self._time], _time_kind(rows[self._time].type), "the order"))
        return found[:n_args]

    def flagged(self, rows: pa.RecordBatch) -> list[Column]:
        """Whether the arguments of a standard function are there, and their cells."""
        arrays = [rows[name] for name in self.call.args]
        found = [column(_there(arrays, rows.num_rows), "int64", "")]
        if self.call.kernel in ("row_number", "count"):
            return found  # rows are counted by the flag alone, so that they may be of any type
        wide = self.call.kernel in NUMBERS and not _keeps(self.bound) or self.call.kernel in JOINT
        return found + [column(_cells(array, wide), "int64", "") for array in arrays]

    def finish(self, output: pa.Array) -> pa.Array:
        """The output in its own type."""
        if not self.standard:
            return output
        return _of_cells(output, self.type)


def _keeps(bound: Bound) -> bool:
    return bool(bound.kernel.spec.name.startswith("total"))


def _reader(name: str, kind: Any, who: str) -> Callable[[pa.RecordBatch], Column]:
    return lambda rows: column(rows[name], kind, who)


def _time_kind(kind: pa.DataType) -> str:
    return "timestamp" if pa.types.is_timestamp(kind) or pa.types.is_date(kind) else "int64"


def _there(arrays: Sequence[pa.Array], rows: int) -> pa.Array:
    """1 where all arguments have a value, else 0."""
    valid = None
    for array in arrays:
        if array.null_count:
            here = array.is_valid()
            valid = here if valid is None else pc.and_(valid, here)
    if valid is not None:
        return valid.cast(pa.int64())
    return _ones(rows)


@lru_cache(maxsize=8)
def _ones(rows: int) -> pa.Array:
    return pa.array(np.ones(rows, np.int64))


def _cells(array: pa.Array, wide: bool) -> pa.Array:
    """Values as int64: doubles by their bits, all else by their number; NULL is 0."""
    kind = array.type
    if pa.types.is_floating(kind) or wide:
        array = array if kind == pa.float64() else array.cast(pa.float64(), safe=False)
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        array = array if kind == pa.int64() else array.cast(pa.int64())
    elif pa.types.is_date32(kind):
        array = array.cast(pa.int32()).cast(pa.int64())
    data = pa.Array.from_buffers(
        pa.int64(), len(array), [None, array.buffers()[1]], offset=array.offset
    )
    return data


def ordered_cells(array: pa.Array) -> pa.Array:
    """Values as integers that compare as they do; NULL comes last, and NaN before it."""
    cells = _cells(array, wide=False)
    if pa.types.is_floating(array.type):
        bits = cells.to_numpy()
        nan = pc.is_nan(array).fill_null(False).to_numpy(zero_copy_only=False)
        bits = np.where(nan, 0x7FF8000000000000, bits)
        bits = np.where(bits == np.int64(-(2**63)), 0, bits)  # -0.0 is 0.0
        cells = pa.array(bits ^ (bits >> 63 & 0x7FFFFFFFFFFFFFFF))
    if array.null_count:
        cells = pc.if_else(array.is_valid(), cells, 2**63 - 1)
    return cells


def _of_cells(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if (
        kind in (pa.int64(), pa.float64())
        or pa.types.is_timestamp(kind)
        or pa.types.is_date64(kind)
    ):
        return array.view(kind)
    if pa.types.is_floating(kind):
        return array.view(pa.float64()).cast(kind)
    if pa.types.is_date32(kind):
        return array.cast(pa.int32()).cast(kind)
    return array.cast(kind)


def _bits(value: Any, kind: pa.DataType) -> int:
    """A constant as the cell of a column of a type."""
    if pa.types.is_floating(kind):
        return int(struct.unpack("<q", struct.pack("<d", float(value)))[0])
    if pa.types.is_timestamp(kind):
        step = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[kind.unit]
        return int(value) // step
    return int(_cells(pa.array([value]).cast(kind), False)[0].as_py())
