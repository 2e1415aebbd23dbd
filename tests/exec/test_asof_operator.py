"""AsofJoin by itself: batches of both sides in any turn."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

from fin_sql.exec.asof import END, AsofJoin
from fin_sql.exec.order import Piece

SEED = 20261124


def sides(rng, n=60):
    return [
        pa.record_batch(
            {
                "t": np.sort(rng.integers(0, 25, n)),
                "k": pa.array(rng.choice(["a", "b"], n)),
                name: np.arange(n),
            }
        )
        for name in ("x", "y")
    ]


def joined(left, right, turns, **options):
    """Give batches in turns, "l" or "r"; the end of a side follows its last batch."""
    join = AsofJoin(
        left.schema, right.schema, on=("t", "t"), by=[("k", "k")], payload=[("y", "y")], **options
    )
    found, at = [], [0, 0]
    for turn in turns:
        input = "lr".index(turn)
        side = (left, right)[input]
        step = -(-side.num_rows // turns.count(turn))
        found += join.process(input, Piece(side.slice(at[input], step)))
        at[input] += step
        if at[input] >= side.num_rows:
            found += join.advance(input, END)
    assert not join.waiting
    return pa.Table.from_batches([piece.batch for piece in found], join.schema)


@pytest.mark.parametrize("direction", [">=", ">", "<=", "<", "nearest"])
def test_the_turns_of_the_sides_do_not_matter(direction):
    left, right = sides(np.random.default_rng(SEED))
    expected = joined(left, right, "rl", direction=direction, loop="index")
    assert expected.num_rows == left.num_rows
    for turns in set(itertools.permutations("lllrr")):
        for loop in ("time", "index") if direction in (">=", ">") else ("index",):
            assert joined(left, right, turns, direction=direction, loop=loop).equals(expected)
