"""AsofJoin over streams against a definition and the loop that holds the right side."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from asof_streams import (
    DIRECTIONS,
    Sides,
    Way,
    assert_same_tables,
    index_loop,
    random_run,
    wanted_table,
)

from fin_sql import SqlError
from fin_sql.exec import asof

SEED = 20261125


def all_ways():
    for direction, tolerance, ties, how, keyed in itertools.product(
        DIRECTIONS, (None, 0, 4), ("last", "first", "error"), ("left", "inner"), (True, False)
    ):
        for ranked in (False, True) if ties != "error" else (False,):
            yield Way(direction, tolerance, ties, how, keyed, ranked)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_a_stream_is_the_definition_and_the_index_loop(direction, seed, monkeypatch):
    for number, way in enumerate(all_ways()):
        if way.direction != direction:
            continue
        monkeypatch.setattr(asof, "HELD", 0 if number % 2 else 1 << 18)
        rng = np.random.default_rng([SEED, seed, number])
        print(f"seed {[SEED, seed, number]}: {way}")
        few = 6 if way.ties == "error" else int(rng.integers(0, 60))
        sides = Sides(rng, int(rng.integers(0, 60)), few, int(rng.integers(5, 60)))
        if any(way.met(row, sides.right) == "tied" for row in sides.left):
            with pytest.raises(SqlError, match="meets several right rows"):
                random_run(sides, way, endless=False)
            continue
        run = random_run(sides, way, endless=False)
        assert_same_tables(run.table() if run.wanted else pa.table({}), wanted_table(run), way)
        assert_same_tables(index_loop(sides, way), wanted_table(run), way)


def endless_ways(wait="wait"):
    """Those that a stream may have."""
    for way in all_ways():
        if way.direction in (">=", ">") or way.tolerance is not None:
            yield Way(**(way.__dict__ | {"wait": wait}))


RUNS = [(wait, True) for wait in ("wait", "now", 0, 3)] + [(wait, False) for wait in ("now", 3)]


@pytest.mark.parametrize(("wait", "restarts"), RUNS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_whatever_it_waits_for_and_wherever_it_is_restarted(direction, wait, restarts, monkeypatch):
    for number, way in enumerate(endless_ways(wait)):
        if way.direction != direction or (wait != "wait" and number % 3):
            continue
        monkeypatch.setattr(asof, "HELD", 0 if number % 2 else 1 << 18)
        seed = [SEED + 1, number, restarts, wait if isinstance(wait, int) else len(wait)]
        print(f"seed {seed}: {way}")
        rng = np.random.default_rng(seed)
        few = 6 if way.ties == "error" else int(rng.integers(0, 60))
        sides = Sides(rng, int(rng.integers(0, 60)), few, int(rng.integers(5, 60)))
        try:
            run = random_run(sides, way, restarts=restarts)
        except SqlError as error:
            assert way.ties == "error" and "meets several right rows" in str(error)
            assert any(
                way.met(row, sides.right[:m]) == "tied"
                for row in sides.left
                for m in range(few + 1)
            )
            continue
        assert_same_tables(run.table() if run.wanted else pa.table({}), wanted_table(run), way)
        if way.wait == "wait":
            assert_same_tables(index_loop(sides, way), wanted_table(run), way)
