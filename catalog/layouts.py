"""What was proven of the order of tables, kept as long as their rows are the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fin_sql.catalog.table import Source
from fin_sql.columns import Slots, column
from fin_sql.exec.keys import Keys
from fin_sql.exec.layout import LayoutProof
from fin_sql.exec.order import Verdict, order_kind

KEPT = 10_000  # proofs


@dataclass(frozen=True)
class Layout:
    """How the rows of a table lie.

    Args:
        verdict: the strongest order that holds.
        rows: how many were looked at.
    """

    verdict: Verdict
    rows: int


class Layouts:
    """Proofs by table, keys and order columns."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Layout] = {}

    def of(self, source: Source, keys: tuple[str, ...], columns: tuple[str, ...]) -> Layout:
        """How the rows lie: remembered, or found by a pass over these columns alone."""
        where = (source.identity(), keys, columns)
        if where not in self._known:
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[where] = _proven(source, keys, columns)
        return self._known[where]


def _proven(source: Source, keys: tuple[str, ...], columns: tuple[str, ...]) -> Layout:
    kinds = [order_kind(source.schema.field(name)) for name in columns]
    proof, known = LayoutProof([kind == "float64" for kind in kinds]), Keys()
    needed = tuple(dict.fromkeys((*keys, *columns)))
    rows = 0
    for batch in source.scan(needed, encoded=keys):
        slots = (
            known.intern([batch[k] for k in keys], len(batch)) if keys else Slots.single(len(batch))
        )
        rows += len(batch)
        order = [
            column(batch[name], kind, f"order column '{name}'")
            for name, kind in zip(columns, kinds, strict=True)
        ]
        if not proof.feed(slots, order):
            break
    return Layout(proof.verdict(known), rows)
