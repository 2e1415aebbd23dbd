"""Tables of files, wherever and however they lie; local S3 is a `moto` server."""

import datetime
import os

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq
import pytest

import fin_sql
from fin_sql.catalog.files import open_files
from fin_sql.catalog.layouts import Layouts
from fin_sql.catalog.memory import open_data
from fin_sql.exec.bounds import Bound
from fin_sql.exec.order import Verdict
from fin_sql.testing import Market

ROWS = 1_200


@pytest.fixture(scope="module")
def trades():
    return Market(seed=5).trades(ROWS)


def write(table, folder, parts=12):
    folder.mkdir(parents=True, exist_ok=True)
    step = -(-table.num_rows // parts)
    for k in range(parts):
        pq.write_table(table.slice(k * step, step), folder / f"part-{k}.parquet", row_group_size=40)
    return folder


def scanned(source, columns=None, **options):
    names = columns or source.schema.names
    schema = pa.schema([source.schema.field(n) for n in names])
    batches = [b.cast(schema) for b in source.scan(names, **options)]
    return pa.Table.from_batches(batches, schema)


def test_a_file_a_folder_a_glob_and_a_list_are_the_same_rows(trades, tmp_path):
    folder = write(trades, tmp_path / "parts")
    pq.write_table(trades, tmp_path / "one.parquet")
    (folder / "_SUCCESS").touch()
    (folder / ".hidden.parquet").write_text("no Parquet")
    for path in (
        str(tmp_path / "one.parquet"),
        str(folder),
        str(folder / "*.parquet"),
        str(tmp_path / "**" / "part-*.parquet"),
        [str(folder / f"part-{k}.parquet") for k in range(12)],
    ):
        source = open_files(path, "parquet")
        assert scanned(source).equals(trades), path
        assert source.count() == ROWS
        for options in ({"encoded": ["symbol"]}, {"batch_rows": 7}):
            assert scanned(source, **options).equals(trades), path
        assert scanned(source, ["price", "ts"]).equals(trades.select(["price", "ts"]))
        assert sum(b.num_rows for b in source.scan([])) == ROWS
        ctx = fin_sql.connect()
        ctx.register_parquet("t", path)
        plain = ctx.sql("SELECT * FROM t ORDER BY ts, seq").to_arrow()
        assert plain.schema.equals(source.schema)
        assert plain.equals(trades.sort_by([("ts", "ascending"), ("seq", "ascending")]))


def test_encoded_texts_come_as_dictionaries(trades, tmp_path):
    pq.write_table(trades, tmp_path / "t.parquet")
    source = open_files(str(tmp_path / "t.parquet"), "parquet")
    batch = next(source.scan(["symbol", "price"], encoded=["symbol", "price"]))
    assert pa.types.is_dictionary(batch["symbol"].type)
    assert batch["price"].type == source.schema.field("price").type


@pytest.mark.parametrize("key", ["seq % 3", "seq % 3 = 0", "to_char(ts, '%H')"])
def test_a_key_of_a_window_over_files_may_have_any_type(trades, tmp_path, key):
    ctx = fin_sql.connect()
    ctx.register("m", trades)
    keyed = ctx.sql(f"SELECT *, {key} AS k FROM m").to_arrow()
    ctx.register("k", keyed)
    pq.write_table(keyed, tmp_path / "t.parquet")
    ctx.register_parquet("f", str(tmp_path / "t.parquet"))
    text = "SELECT ewma(price, 0.5) OVER (PARTITION BY k ORDER BY ts) AS e FROM {}"
    assert ctx.sql(text.format("f")).to_arrow().equals(ctx.sql(text.format("k")).to_arrow())


def test_hive_folders_give_their_column_and_lie_by_key(trades, tmp_path):
    for symbol in trades["symbol"].unique().to_pylist():
        chosen = trades.filter(pa.compute.equal(trades["symbol"], symbol))
        folder = tmp_path / "hive" / f"symbol={symbol}"
        write(chosen.drop_columns("symbol"), folder, 2)
    source = open_files(str(tmp_path / "hive"), "parquet")
    assert "symbol" in source.schema.names
    layout = Layouts().of(source, ("symbol",), ("ts", "seq"))
    assert layout.verdict is Verdict.KEY and layout.rows == ROWS
    ctx = fin_sql.connect()
    ctx.register_parquet("h", str(tmp_path / "hive"))
    ctx.register("t", trades)
    query = "SELECT seq, symbol, ewma(price, 0.1) OVER (PARTITION BY symbol ORDER BY ts, seq) AS e FROM "  # noqa: E501
    found, wanted = (ctx.sql(query + name).to_arrow().sort_by("seq") for name in "ht")
    assert found.column("e").equals(wanted.column("e"))
    assert found.column("symbol").to_pylist() == wanted.column("symbol").to_pylist()


def test_files_are_read_in_order_of_time_where_they_do_not_overlap(trades, tmp_path):
    ordered = trades.sort_by([("ts", "ascending"), ("seq", "ascending")])
    folder = tmp_path / "days"
    folder.mkdir()
    for k, name in enumerate(["z", "y", "x"]):
        pq.write_table(ordered.slice(400 * k, 400), folder / f"{name}.parquet")
    assert scanned(open_files(str(folder), "parquet")).equals(ordered)


@pytest.mark.parametrize("format", ["csv", "json"])
def test_csv_and_json_files(trades, tmp_path, format):
    rows = trades.slice(0, 200).select(["ts", "symbol", "price", "size", "seq"])
    path = tmp_path / f"t.{format}"
    if format == "csv":
        pc_csv.write_csv(rows, path)
    else:
        path.write_bytes(
            b"".join(
                rows.to_pandas()
                .to_json(orient="records", lines=True, date_format="iso", date_unit="ns")
                .encode()
                for _ in [0]
            )
        )
    ctx = fin_sql.connect()
    getattr(ctx, f"register_{format}")("t", str(path))
    assert ctx.table("t").schema.field("ts").type == pa.timestamp("ns")
    ctx.register("wanted", rows)
    query = "SELECT seq, ewma(price, 0.1) OVER (PARTITION BY symbol ORDER BY ts, seq) AS e FROM "
    wanted = ctx.sql(query + "wanted").to_arrow()
    for source in ("t", f"'{path}'"):
        assert ctx.sql(query + source).to_arrow()["e"].equals(wanted["e"])
    assert ctx.sql(f"SELECT count(*) AS n FROM '{path}'").to_arrow()["n"].to_pylist() == [200]


def test_paths_stand_in_from(trades, tmp_path):
    folder = write(trades, tmp_path / "parts")
    ctx = fin_sql.connect()
    found = ctx.sql(
        f"SELECT a.seq, b.price FROM '{folder}/*.parquet' a ASOF JOIN '{folder}' b "
        "MATCH_CONDITION (a.ts >= b.ts) USING (symbol) ORDER BY a.seq LIMIT 3"
    )
    assert found.to_arrow().num_rows == 3
    assert ctx.sql(f"SELECT max(seq) AS m FROM '{folder}'").to_arrow()["m"].to_pylist() == [
        max(trades["seq"].to_pylist())
    ]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_types_are_those_of_the_files(tmp_path, unit, zone):
    when = datetime.datetime(2026, 1, 5, tzinfo=datetime.UTC if zone else None)
    table = pa.table(
        {
            "ts": pa.array([when, None], pa.timestamp(unit, zone)),
            "price": pa.array(["1.25", None], pa.string()).cast(pa.decimal128(18, 8)),
            "name": pa.array(["a", None]).dictionary_encode(),
            "text": pa.array(["a", None], pa.string_view()),
            "day": pa.array([when.date(), None]),
            "flag": [True, None],
        }
    )
    stored = table.set_column(3, "text", table["text"].cast(pa.string()))
    pq.write_table(stored, tmp_path / "t.parquet")
    ctx = fin_sql.connect()
    ctx.register_parquet("f", str(tmp_path / "t.parquet"))
    ctx.register("m", table)
    for name in "fm":
        schema = ctx.table(name).schema
        assert schema.field("text").type == pa.string()
        plain = ctx.sql(f"SELECT * FROM {name}").to_arrow()
        assert plain.schema.types == schema.types, name
        window = ctx.sql(f"SELECT *, lag(flag) OVER (ORDER BY day) AS l FROM {name} LIMIT 1")
        assert window.schema.types[:-1] == schema.types


def test_bounds_leave_out_what_lies_outside(trades, tmp_path):
    folder = write(trades, tmp_path / "parts")
    source = open_files(str(folder), "parquet")
    times = sorted(trades["ts"].cast(pa.int64()).to_pylist())
    low, high = times[300], times[600]
    found = scanned(source, bounds=(Bound("ts", low, high, timed=True),))
    inside = [low <= t <= high for t in trades["ts"].cast(pa.int64()).to_pylist()]
    assert found.equals(trades.filter(pa.array(inside)))


def test_what_cannot_be_read_is_told(trades, tmp_path):
    (tmp_path / "empty").mkdir()
    for path in ("nothing.parquet", "empty", "empty/*.parquet"):
        with pytest.raises(fin_sql.SourceError, match="no parquet file was found"):
            open_files(str(tmp_path / path), "parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 is not enough")
    with pytest.raises(fin_sql.SourceError, match="bad.parquet' cannot be read"):
        open_files(str(tmp_path / "bad.parquet"), "parquet")
    folder = write(trades, tmp_path / "parts", 2)
    pq.write_table(trades.select(["ts"]), folder / "part-9.parquet")
    with pytest.raises(fin_sql.SourceError, match="other columns than .*price"):
        open_files(str(folder), "parquet")
    with pytest.raises(fin_sql.SourceError, match="at least one"):
        open_files([], "parquet")
    with pytest.raises(fin_sql.SourceError, match="one place"):
        open_files(["s3://a/b", "c.parquet"], "parquet")


def test_a_proof_is_forgotten_when_its_file_changes(trades, tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(trades, path)
    layouts = Layouts()
    assert layouts.of(open_files(str(path), "parquet"), (), ("ts",)).verdict is Verdict.TIME
    pq.write_table(trades.take(list(range(ROWS))[::-1]), path)
    os.utime(path, ns=(1, 1))
    assert layouts.of(open_files(str(path), "parquet"), (), ("ts",)).verdict is Verdict.NONE


# ---------------------------------------------------------------- how rows lie


def slow_verdict(keys, rows):
    """The words of Verdict, in plain Python."""
    if all(a <= b for a, b in zip(rows, rows[1:], strict=False)):
        return Verdict.TIME
    last = {}
    for key, row in zip(keys, rows, strict=True):
        if key in last and row < last[key]:
            return Verdict.NONE
        last[key] = row
    runs = [k for i, k in enumerate(keys) if i == 0 or keys[i - 1] != k]
    if len(set(runs)) < len(runs):
        return Verdict.WITHIN
    return Verdict.KEY if runs == sorted(runs) else Verdict.RUNS


@pytest.mark.parametrize("seed", range(40))
def test_layouts_are_what_they_say(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    keys, a, b = (rng.integers(0, 4, n).tolist() for _ in range(3))
    order = range(n)
    if seed % 4 == 1:
        order = sorted(order, key=lambda i: (a[i], b[i]))
    elif seed % 4 == 2:
        order = sorted(order, key=lambda i: (keys[i], a[i], b[i]))
    elif seed % 4 == 3:
        place = {k: int(rng.integers(100)) for k in range(4)}
        order = sorted(order, key=lambda i: (place[keys[i]], keys[i], a[i], b[i]))
    keys, a, b = ([c[i] for i in order] for c in (keys, a, b))
    table = pa.table({"k": [f"k{k}" for k in keys], "a": a, "b": [float(x) for x in b]})
    source = open_data(pa.concat_tables([table.slice(0, n // 2), table.slice(n // 2)]))
    found = Layouts().of(source, ("k",), ("a", "b")).verdict
    assert found is slow_verdict(keys, list(zip(a, b, strict=True)))


# ---------------------------------------------------------------- S3


@pytest.fixture(scope="module")
def s3():
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


def test_files_in_s3(trades, s3, monkeypatch):
    import boto3

    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=s3, region_name="us-east-1")
    client.create_bucket(Bucket="market")
    for k in range(3):
        sink = pa.BufferOutputStream()
        pq.write_table(trades.slice(400 * k, 400), sink)
        client.put_object(
            Bucket="market", Key=f"t/part-{k}.parquet", Body=sink.getvalue().to_pybytes()
        )
    ctx = fin_sql.connect()
    ctx.register("here", trades)
    query = "SELECT ewma(price, 0.1) OVER (PARTITION BY symbol ORDER BY ts, seq) AS e FROM "
    wanted = ctx.sql(query + "here").to_arrow()
    for path in ("s3://market/t", "s3://market/t/part-*.parquet"):
        assert ctx.sql(f"{query} '{path}'").to_arrow().equals(wanted), path
        assert ctx.sql(f"SELECT count(*) AS n FROM '{path}'").to_arrow()["n"].to_pylist() == [ROWS]
    with pytest.raises(fin_sql.SourceError, match="no parquet file"):
        ctx.sql(query + "'s3://market/nothing/'")
