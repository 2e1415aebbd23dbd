"""Files that were written, as other readers see them."""

import datetime
import gzip
import json
import math
from decimal import Decimal

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

import fin_sql
from fin_sql.testing import Market
from fin_sql.testing.compare import assert_same_bits

ROWS = 2_000
DAY = datetime.date(2026, 1, 5)


@pytest.fixture(scope="module")
def trades():
    return Market(seed=4).trades(ROWS)


@pytest.fixture
def ctx(trades):
    ctx = fin_sql.connect(threads=2)
    ctx.register("trades", trades)
    ctx.register("every", every_type())
    return ctx


def every_type():
    """A column of each type that all readers of Parquet know, with NULL."""
    stamp = 1_767_623_400_123_456_789
    return pa.table(
        {
            "n": pa.array([1, 2, 3]),
            "ns": pa.array([stamp, None, -1], pa.timestamp("ns")),
            "us": pa.array([stamp // 1000, None, -1], pa.timestamp("us")),
            "ms": pa.array([stamp // 10**6, None, -1], pa.timestamp("ms")),
            "utc": pa.array([stamp, None, 0], pa.timestamp("ns", "UTC")),
            "york": pa.array([stamp // 1000, None, 0], pa.timestamp("us", "America/New_York")),
            "day": pa.array([DAY, None, DAY]),
            "clock": pa.array([1, None, 86_399_999_999], pa.time64("us")),
            "x": pa.array([-0.0, None, 0.1]),
            "nan": pa.array([math.nan, math.inf, -math.inf]),
            "small": pa.array([0.1, None, -0.0], pa.float32()),
            "i8": pa.array([-128, None, 127], pa.int8()),
            "u64": pa.array([2**64 - 1, None, 0], pa.uint64()),
            "decimal": pa.array([Decimal("1.25"), None, Decimal("-0.00000001")]).cast(
                pa.decimal128(18, 8)
            ),
            "text": pa.array(['é,"x"\n', None, ""]),
            "code": pa.array(["a", None, "b"]).dictionary_encode(),
            "flag": pa.array([True, None, False]),
            "bytes": pa.array([b"\x00\xff", None, b""]),
            "list": pa.array([[1.5, None], None, []]),
            "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": None}]),
        }
    )


def test_parquet_keeps_every_type(ctx, tmp_path):
    path, wanted = tmp_path / "t.parquet", every_type()
    assert count(ctx.sql(f"COPY every TO '{path}'")) == 3
    found = pq.read_table(path)
    assert found.schema.equals(wanted.schema) and found.column_names == wanted.column_names
    for name in set(wanted.column_names) - {"nan"}:
        assert found[name].combine_chunks().equals(wanted[name].combine_chunks()), name
    assert_same_bits(found["nan"].combine_chunks(), wanted["nan"].combine_chunks(), "nan")
    assert math.copysign(1, found["x"][0].as_py()) == -1
    read = duckdb.sql(f"SELECT * FROM '{path}'").to_arrow_table()
    for name in ("n", "ns", "us", "day", "x", "text", "flag", "decimal", "bytes", "list", "struct"):
        assert read[name].to_pylist() == wanted[name].to_pylist(), name
    frame = pd.read_parquet(path)
    assert frame["ns"].tolist()[0] == pd.Timestamp(1_767_623_400_123_456_789)
    # And ours reads what it wrote.
    again = ctx.sql(f"SELECT * FROM '{path}'").to_arrow()
    assert again.schema.types == wanted.schema.types


def test_arrow_keeps_every_type(ctx, tmp_path):
    path, wanted = tmp_path / "t.arrow", every_type()
    ctx.sql(f"COPY every TO '{path}' OPTIONS (compression 'zstd')")
    found = pa.ipc.open_file(path).read_all()
    code = found.schema.get_field_index("code")
    assert found.schema.field(code).type == pa.string()
    assert found["code"].to_pylist() == wanted["code"].to_pylist()
    for name in set(wanted.column_names) - {"nan", "code"}:
        assert found[name].combine_chunks().equals(wanted[name].combine_chunks()), name
    assert feather.read_table(path).num_rows == 3
    assert ctx.sql(f"SELECT sum(n) AS n FROM '{path}'").to_arrow()["n"].to_pylist() == [6]


def test_csv_as_duckdb_and_pandas_read_it(ctx, tmp_path):
    path, wanted = tmp_path / "t.csv", every_type()
    ctx.sql(f"COPY every TO '{path}'")
    read = duckdb.sql(f"SELECT * FROM read_csv('{path}', all_varchar = true)").to_arrow_table()
    assert read.column_names == wanted.column_names
    assert read["text"].to_pylist()[0] == 'é,"x"\n'
    assert read["york"].to_pylist() == [
        "2026-01-05T14:30:00.123456Z",
        None,
        "1970-01-01T00:00:00.000000Z",
    ]
    assert read["nan"].to_pylist() == ["NaN", "Infinity", "-Infinity"]
    assert read["struct"].to_pylist()[0] == '{"a": 1, "b": "x"}'
    assert read["list"].to_pylist()[0] == "[1.5, null]"
    frame = pd.read_csv(path)
    assert frame["x"].tolist()[2] == 0.1 and math.copysign(1, frame["x"][0]) == -1
    assert frame["nan"].tolist()[1:] == [math.inf, -math.inf]
    assert frame["decimal"].tolist()[0] == 1.25
    assert pd.to_datetime(frame["ns"]).tolist()[0] == pd.Timestamp(1_767_623_400_123_456_789)


def test_json_as_duckdb_and_python_read_it(ctx, tmp_path):
    path, wanted = tmp_path / "t.json", every_type()
    ctx.sql(f"COPY every TO '{path}'")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert list(rows[0]) == wanted.column_names
    assert rows[0]["struct"] == {"a": 1, "b": "x"} and rows[0]["list"] == [1.5, None]
    assert [row["nan"] for row in rows] == ["NaN", "Infinity", "-Infinity"]
    assert rows[0]["decimal"] == "1.25000000" and rows[0]["u64"] == 2**64 - 1
    read = duckdb.sql(f"SELECT n, x, text, day, flag FROM read_json('{path}')").fetchall()
    assert read == [
        (1, -0.0, 'é,"x"\n', DAY, True),
        (2, None, None, None, None),
        (3, 0.1, "", DAY, False),
    ]


@pytest.mark.parametrize(
    "ending", ["parquet", "csv", "csv.gz", "json", "ndjson", "jsonl.gz", "arrow"]
)
def test_what_was_written_is_read_by_ours(ctx, trades, tmp_path, ending):
    path = tmp_path / f"t.{ending}"
    query = "SELECT ts, symbol, price, size, seq, price / 3 AS third FROM trades"
    wanted = ctx.sql(query).to_arrow()
    assert count(ctx.sql(f"COPY ({query}) TO '{path}'")) == ROWS
    found = ctx.sql(f"SELECT ts, symbol, price, size, seq, third FROM '{path}'").to_arrow()
    assert found.schema.types == wanted.schema.types
    for name in wanted.column_names:
        assert_same_bits(found[name].combine_chunks(), wanted[name].combine_chunks(), name)
    window = "SELECT ewma(price, 0.1) OVER (PARTITION BY symbol ORDER BY ts, seq) AS e FROM "
    one, other = (ctx.sql(window + name).to_arrow()["e"] for name in ("trades", f"'{path}'"))
    assert one.equals(other)


def test_nan_is_no_null_in_csv(ctx, tmp_path):
    path = tmp_path / "t.csv"
    ctx.sql(f"COPY (SELECT n, nan, x FROM every) TO '{path}'")
    found = ctx.sql(f"SELECT * FROM '{path}'").to_arrow()
    assert found["nan"].null_count == 0 and found["x"].null_count == 1
    assert_same_bits(found["nan"].combine_chunks(), every_type()["nan"].combine_chunks(), "nan")


@pytest.mark.parametrize("ending", ["parquet", "csv", "json", "arrow"])
def test_no_rows_are_a_file_too(ctx, tmp_path, ending):
    path = tmp_path / f"t.{ending}"
    assert count(ctx.sql(f"COPY (SELECT ts, price FROM trades WHERE false) TO '{path}'")) == 0
    if ending == "parquet":
        assert pq.read_schema(path).types == [pa.timestamp("ns"), pa.float64()]
        assert pq.read_metadata(path).num_rows == 0
    elif ending == "csv":
        assert path.read_text() == "ts,price\n"
    elif ending == "json":
        assert path.read_bytes() == b""
    if ending in ("parquet", "arrow"):
        assert ctx.sql(f"SELECT * FROM '{path}'").to_arrow().num_rows == 0


def count(query):
    table = query.to_arrow()
    assert table.schema == pa.schema([("count", pa.int64())]) and table.num_rows == 1
    return table["count"][0].as_py()


# ---------------------------------------------------------------- options


def group(path):
    return pq.read_metadata(path).row_group(0)


@pytest.mark.parametrize("codec", ["zstd", "snappy", "lz4", "gzip", "brotli", "none"])
def test_codecs_of_parquet(ctx, trades, tmp_path, codec):
    path = tmp_path / "t.parquet"
    ctx.sql(f"COPY trades TO '{path}' OPTIONS (compression '{codec}')")
    said = group(path).column(0).compression
    assert said == {"none": "UNCOMPRESSED"}.get(codec, codec.upper())
    assert pq.read_table(path).equals(trades)


def test_the_default_codec_and_a_level(ctx, tmp_path):
    sizes = []
    for options in ("", "OPTIONS (compression_level 1)", "OPTIONS (compression_level 19)"):
        ctx.sql(f"COPY trades TO '{tmp_path}/t.parquet' {options}")
        assert group(tmp_path / "t.parquet").column(0).compression == "ZSTD"
        sizes.append((tmp_path / "t.parquet").stat().st_size)
    assert sizes[0] == sizes[1] > sizes[2]


def test_row_groups_are_full(ctx, trades, tmp_path):
    path = tmp_path / "t.parquet"
    query = f"COPY trades TO '{path}' OPTIONS (row_group_size 300)"
    ctx.sql(query)
    meta = pq.read_metadata(path)
    assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == [300] * 6 + [200]
    ctx.sql(f"COPY trades TO '{tmp_path}/t.arrow' OPTIONS ('row_group_size' 300)")
    assert pa.ipc.open_file(tmp_path / "t.arrow").num_record_batches == 7
    assert pq.read_table(path).equals(trades)


def test_options_of_csv(ctx, tmp_path):
    path = tmp_path / "t.csv"
    ctx.sql(
        f"COPY (SELECT n, text, x FROM every WHERE n > 1) TO '{path}' "
        "OPTIONS (header false, delimiter ';', null 'NA')"
    )
    assert path.read_text() == "2;NA;NA\n3;;0.1\n"
    ctx.sql(f"COPY (SELECT n FROM every) TO '{path}.gz'")
    assert gzip.decompress((tmp_path / "t.csv.gz").read_bytes()) == b"n\n1\n2\n3\n"
    options = "STORED AS CSV OPTIONS (compression 'gzip')"
    ctx.sql(f"COPY (SELECT n FROM every) TO '{tmp_path}/f/' {options}")
    assert [p.name for p in (tmp_path / "f").iterdir()] == ["part-0.csv.gz"]


def test_values_of_options_may_be_parameters(ctx, tmp_path):
    path = tmp_path / "t.csv"
    values = {"n": 5, "path": str(path), "h": False}
    ctx.sql("COPY (SELECT $n AS n) TO $path OPTIONS (header $h)", values)
    assert path.read_text() == "5\n"


def test_overwrite_false_keeps_a_file(ctx, tmp_path):
    path = tmp_path / "t.csv"
    for _ in range(2):
        ctx.sql(f"COPY (SELECT 1 AS a) TO '{path}'")
    with pytest.raises(fin_sql.SourceError, match="exists, and overwrite is off"):
        ctx.sql(f"COPY (SELECT 2 AS a) TO '{path}' OPTIONS (overwrite false)")
    assert path.read_text() == "a\n1\n"
    ctx.sql(f"COPY (SELECT 2 AS a) TO '{tmp_path}/new.csv' OPTIONS (overwrite false)")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new.csv", "t.csv"]


WRONG = [
    ("x.csv' OPTIONS (compresion 'gzip')", "did you mean 'compression'"),
    ("x.csv' OPTIONS (format.delimiter ';')", "did you mean 'delimiter'"),
    ("x.csv' OPTIONS (compression 'gzip')", "name it 'x.csv.gz'"),
    ("x.csv.gz' OPTIONS (compression 'none')", "leave '.gz' out"),
    ("x.csv' OPTIONS (row_group_size 5)", "is none of CSV files, which have compression, header"),
    ("x.json' OPTIONS (header true)", "is none of JSON files"),
    ("x.parquet' OPTIONS (compression 'zip')", "is one of 'zstd', 'snappy'"),
    ("x.parquet' OPTIONS (compression_level 99)", "of 'zstd' is from"),
    ("x.parquet' OPTIONS (compression 'lz4', compression_level 1)", "none of compression 'lz4'"),
    ("x.parquet' OPTIONS (row_group_size 0)", "from 1 to 67108864 rows, was 0"),
    ("x.parquet' OPTIONS (row_group_size 'many')", "must be a whole number, was 'many'"),
    ("x.csv' OPTIONS (header 'maybe')", "must be true or false, was 'maybe'"),
    ("x.csv' OPTIONS (delimiter 'ab')", "must be one character"),
    ("x.csv' OPTIONS (delimiter '-')", "must be one character"),
    ("x.csv' OPTIONS (null 5)", "must be a text"),
    ("x.csv' OPTIONS (null 'a,b')", "has the delimiter in it"),
    ("x.csv' OPTIONS (header true, header false)", "stands twice"),
    ("x.csv' OPTIONS (header)", "an option and its value were expected"),
    ("x.csv' OPTIONS (header price)", "a constant was expected"),
    ("x.txt'", "end it in .parquet, .csv, .json, .arrow, or say STORED AS PARQUET"),
    ("x' STORED AS PARKET", "did you mean 'parquet'"),
    ("x.csv' STORED AS CSV STORED AS CSV", "STORED stands twice"),
    ("x.csv' (FORMAT csv)", "STORED AS format"),
    ("x.csv' WITH HEADER", "STORED AS format"),
]


@pytest.mark.parametrize(("rest", "says"), WRONG)
def test_a_wrong_option_is_told_with_its_place(ctx, tmp_path, rest, says, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fin_sql.SqlError) as caught:
        ctx.sql(f"COPY trades TO '{rest}")
    assert says in str(caught.value)
    assert set(str(caught.value).split("\n")[-1].strip()) == {"^"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("COPY trades FROM 'x.csv'", "CREATE TABLE name AS SELECT * FROM 'path'"),
        ("COPY SELECT 1 TO 'x.csv'", "put the query in brackets"),
        ("COPY tradez TO 'x.csv'", "did you mean 'trades'"),
        ("COPY trades", "COPY {table | (query)} TO 'path' was expected"),
        ("COPY (SELECT 1) 'x.csv'", "TO 'path' was expected"),
        ("COPY (DROP TABLE trades) TO 'x.csv'", "a query was expected"),
        ("COPY trades TO 5", "a path was expected, was 5"),
        ("COPY (SELECT nope FROM trades) TO 'x.csv'", "nope"),
    ],
)
def test_a_wrong_copy_is_told(ctx, statement, says):
    with pytest.raises(fin_sql.SqlError) as caught:
        ctx.sql(statement)
    assert says in str(caught.value)
    assert ctx.tables() == ["every", "trades"]


@pytest.mark.parametrize(
    ("column", "format"),
    [
        (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), "PARQUET"),
        (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), "CSV"),
        (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), "JSON"),
        (pa.array([{}], pa.struct([])), "PARQUET"),
    ],
)
def test_a_type_that_a_format_lacks_is_told_before_anything_runs(tmp_path, column, format):
    ctx = fin_sql.connect()
    ctx.register("t", pa.table({"n": [1], "c": column}))
    with pytest.raises(fin_sql.SqlError, match=f"column 'c' of type .* as {format}: cast it"):
        ctx.sql(f"COPY t TO '{tmp_path}/x' STORED AS {format}")
    ctx.sql(f"COPY t TO '{tmp_path}/x.arrow'")
    assert pa.ipc.open_file(tmp_path / "x.arrow").read_all()["c"].to_pylist() == column.to_pylist()


def test_dictionaries_that_differ_from_batch_to_batch(tmp_path):
    parts = [pa.table({"s": pa.array([f"{k}", f"{k + 1}"]).dictionary_encode()}) for k in range(5)]
    ctx = fin_sql.connect()
    ctx.register("t", pa.concat_tables(parts))
    wanted = pa.concat_tables(parts)["s"].to_pylist()
    for ending in ("parquet", "arrow", "csv", "json"):
        ctx.sql(f"COPY t TO '{tmp_path}/t.{ending}'")
    assert pq.read_table(tmp_path / "t.parquet")["s"].to_pylist() == wanted
    assert pa.ipc.open_file(tmp_path / "t.arrow").read_all()["s"].to_pylist() == wanted
    assert (tmp_path / "t.csv").read_text().split() == ["s", *wanted]


def test_equal_names_are_told_apart(ctx, tmp_path):
    ctx.sql(f"COPY (SELECT a.ts, b.ts, a.seq AS ts_2 FROM trades a JOIN trades b USING (seq)) "
            f"TO '{tmp_path}/t.parquet'")  # fmt: skip
    assert pq.read_schema(tmp_path / "t.parquet").names == ["ts", "ts_3", "ts_2"]


def test_many_random_tables_survive_every_format(tmp_path):
    rng = np.random.default_rng(9)
    ctx = fin_sql.connect()
    for _ in range(10):
        rows = int(rng.integers(0, 300))
        mask = rng.random(rows) < 0.2
        bits = rng.integers(0, 2**63, rows, dtype=np.uint64).view(np.float64)
        table = pa.table(
            {
                "n": pa.array(np.arange(rows)),
                "x": pa.array(np.where(np.isnan(bits), 0.5, bits), mask=mask),
                "i": pa.array(rng.integers(-(2**53), 2**53, rows), mask=mask),
                "t": pa.array(rng.integers(0, 2**60, rows)).cast(pa.timestamp("ns")),
            }
        )
        ctx.register("t", table)
        for ending in ("parquet", "csv", "json", "arrow"):
            path = tmp_path / f"t.{ending}"
            ctx.sql(f"COPY t TO '{path}' OPTIONS (overwrite true)")
            if ending == "parquet":
                found = pq.read_table(path)
            elif ending == "arrow":
                found = pa.ipc.open_file(path).read_all()
            elif ending == "csv":
                kinds = dict(zip(table.column_names, table.schema.types, strict=True))
                options = pa.csv.ConvertOptions(column_types=kinds)
                found = pa.csv.read_csv(path, convert_options=options)
            else:
                lines = [json.loads(line) for line in path.read_text().splitlines()]
                found = pa.table({k: pa.array([r[k] for r in lines], table.schema.field(k).type)
                                  for k in "nxi"}).append_column("t", table["t"])  # fmt: skip
            assert found.equals(table), ending
