"""Texts of Polars, which are views in Arrow, go through every door."""

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import fin_sql
from fin_sql import AsofJoiner, asof_join
from fin_sql.exec.viewless import viewless, viewless_table

VIEW = pa.string_view()
KINDS = {
    "text": pl.String,
    "categorical": pl.Categorical,
    "enum": pl.Enum(["a", "b", "c"]),
    "binary": pl.Binary,
}


def sides(kind, seed=5, rows=300):
    rng = np.random.default_rng(seed)

    def keys():
        texts = pl.Series("k", rng.choice(["a", "b", "c"], rows))
        return texts.cast(KINDS[kind])

    left = pl.DataFrame({"ts": rng.integers(0, rows, rows), "k": keys()})
    right = pl.DataFrame({"ts": rng.permutation(rows), "k": keys(), "row": np.arange(rows)})
    words = pl.Series("word", rng.choice(["x", "y", ""], rows))
    return left, right.with_columns(words, words.alias("words").reshape((rows, 1)).arr.to_list())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("direction", ["backward", "forward", "nearest"])
@pytest.mark.parametrize("ordered", [True, False])
def test_asof_join_takes_frames_of_polars(kind, direction, ordered):
    left, right = sides(kind)
    if ordered:
        left, right = left.sort("ts", maintain_order=True), right.sort("ts")
    numbered = left.with_row_index("n").sort("ts")
    wanted = numbered.join_asof(
        right.sort("ts"), on="ts", by="k", strategy=direction, check_sortedness=False
    ).sort("n")
    found = pl.from_arrow(asof_join(left, right, on="ts", by="k", direction=direction))
    assert found.schema == {**left.schema, "row": pl.Int64, "word": pl.String,
                            "words": pl.List(pl.String)}  # fmt: skip
    if direction == "nearest":  # at equal distance Polars takes the later row
        times = dict(zip(right["row"], right["ts"], strict=True))
        apart = [
            [t - times[r] if r is not None else None for t, r in zip(left["ts"], rows, strict=True)]
            for rows in (found["row"], wanted["row"])
        ]
        assert [d and abs(d) for d in apart[0]] == [d and abs(d) for d in apart[1]]
    else:
        assert found.drop("k").equals(wanted.select(found.drop("k").columns))
    words = dict(zip(right["row"], right["word"], strict=True))
    assert found["word"].to_list() == [words.get(row) for row in found["row"]]


def test_readers_of_views_are_read_as_they_come():
    left, right = (side.sort("ts") for side in sides("text"))
    whole = asof_join(left, right, on="ts", by="k")
    readers = [pa.RecordBatchReader.from_stream(side) for side in (left, right)]
    assert asof_join(*readers, on="ts", by="k").read_all().equals(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_a_joiner_takes_frames_of_polars(kind):
    left, right = sides(kind)
    right = right.sort("ts")
    joiner, again = (AsofJoiner(on="ts", by="k") for _ in range(2))
    for part in (right[:100], right[100:]):
        joiner.add_right(part)
    again.restore(joiner.snapshot())
    wanted = pl.from_arrow(asof_join(left, right, on="ts", by="k"))
    for one in (joiner, again):
        assert pl.from_arrow(one.join(left)).equals(wanted)
    first = left.row(0, named=True)
    assert joiner.probe(first["k"], first["ts"])["word"] == wanted["word"][0]


@pytest.mark.parametrize("kind", KINDS)
def test_keys_of_a_kernel_may_be_views(kind):
    rng = np.random.default_rng(7)
    frame = sides(kind)[0].with_columns(price=rng.random(300), size=rng.random(300))
    vwap = fin_sql.kernel("vwap")
    found = pl.from_arrow(vwap.apply(frame["price"], frame["size"], by={"k": frame["k"]}))
    mean = (pl.col("price") * pl.col("size")).sum() / pl.col("size").sum()
    wanted = frame.group_by("k", maintain_order=True).agg(vwap=mean)
    assert found["k"].to_list() == wanted["k"].to_list()
    np.testing.assert_allclose(found["vwap"], wanted["vwap"], rtol=1e-12)
    running = vwap.running(frame["price"], frame["size"], by=frame["k"])
    assert len(running) == 300


def test_a_list_of_keys_may_begin_with_a_missing_one():
    found = fin_sql.kernel("vwap").apply([1.0, 2.0], [1.0, 1.0], by=[None, "b"])
    assert found["key"].to_pylist() == [None, "b"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_takes_frames_of_polars(kind):
    _, right = sides(kind)
    ctx = fin_sql.connect(threads=2)
    ctx.register("r", right)
    found = ctx.sql(
        "SELECT k, word, words, sum(row) OVER (PARTITION BY k ORDER BY ts) AS s FROM r"
    ).to_polars()
    sums = right.sort("ts").select("row", s=pl.col("row").cum_sum().over("k")).sort("row")
    assert found["s"].to_list() == sums["s"].to_list()
    assert found["words"].to_list() == right["words"].to_list()


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.list_(VIEW), [["a", None], None, []]),
        (pa.large_list(VIEW), [["a"], []]),
        (pa.list_(pa.binary_view(), 1), [[b"x"], None]),
        (pa.struct([("a", VIEW), ("b", pa.list_(VIEW))]), [{"a": "u", "b": ["v"]}, None]),
        (pa.map_(VIEW, VIEW), [[("a", "b")], None]),
    ],
)
def test_views_inside_of_other_types_are_plain(kind, values):
    array = viewless(pa.array(values, kind))
    assert "view" not in str(array.type)
    last = pa.array([len(values) - 1])
    assert array.take(last).to_pylist() == values[-1:]
    table = viewless_table(pa.table({"x": pa.array(values, kind)}))
    assert table.schema.field("x").type == array.type


def test_what_has_no_views_stays_as_it_is():
    table = pa.table({"x": pa.array(["a"]).dictionary_encode(), "y": [1]})
    assert viewless_table(table) is table
