"""COPY to S3; the server is `moto`."""

import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import fin_sql
from fin_sql.catalog import staging
from fin_sql.testing import Market

ROWS = 1_500


@pytest.fixture(scope="module")
def endpoint():
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def client(endpoint, monkeypatch, tmp_path):
    import boto3

    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    # What waits to be sent lies here.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="saved")
    yield client
    for key in keys(client):
        client.delete_object(Bucket="saved", Key=key)


def keys(client):
    return [found["Key"] for found in client.list_objects_v2(Bucket="saved").get("Contents", [])]


@pytest.fixture
def ctx():
    ctx = fin_sql.connect()
    ctx.register("trades", Market(seed=2).trades(ROWS))
    return ctx


def bytes_of(client, key):
    return client.get_object(Bucket="saved", Key=key)["Body"].read()


@pytest.mark.parametrize("ending", ["parquet", "csv", "csv.gz", "json", "arrow"])
def test_a_file_is_one_object(ctx, client, tmp_path, ending):
    path = f"s3://saved/a/b/t.{ending}"
    query = "SELECT ts, symbol, ewma(price, 0.1) OVER (PARTITION BY symbol ORDER BY ts, seq) AS e FROM trades"  # noqa: E501
    for _ in range(2):
        found = ctx.sql(f"COPY ({query}) TO '{path}'").to_arrow()
        assert found["count"].to_pylist() == [ROWS]
    assert keys(client) == [f"a/b/t.{ending}"]
    wanted = ctx.sql(query).to_arrow()
    if ending == "parquet":
        assert pq.read_table(pa.BufferReader(bytes_of(client, "a/b/t.parquet"))).equals(wanted)
    back = ctx.sql(f"SELECT e FROM '{path}'").to_arrow()
    assert sorted(back["e"].to_pylist()) == sorted(wanted["e"].to_pylist())
    assert os.listdir(tmp_path) == []
    with pytest.raises(fin_sql.SourceError, match="exists, and overwrite is off"):
        ctx.sql(f"COPY trades TO '{path}' OPTIONS (overwrite false)")


def test_a_folder_is_objects_that_read_back(ctx, client, tmp_path):
    path = "s3://saved/p"
    copy = f"COPY ({{}}) TO '{path}' STORED AS PARQUET PARTITIONED BY (symbol)"
    ctx.sql(copy.format("SELECT * FROM trades"))
    trades = ctx.table("trades").source._table
    symbols = sorted(set(trades["symbol"].to_pylist()))
    wanted = [f"p/symbol={s}/part-0.parquet" for s in symbols]
    assert sorted(keys(client)) == sorted([*wanted, "p/_common_metadata"])
    found = ctx.sql(f"SELECT * FROM '{path}'").to_arrow().select(trades.column_names)
    assert found.sort_by("seq").equals(trades.sort_by("seq"))
    with pytest.raises(fin_sql.SourceError, match="is a folder that is not empty"):
        ctx.sql(copy.format("SELECT * FROM trades"))
    # What the new folder does not have goes.
    some = f"SELECT * FROM trades WHERE symbol = '{symbols[0]}'"
    ctx.sql(copy.format(some) + " OPTIONS (overwrite true)")
    # (pyarrow marks the folder above what it removes.)
    assert sorted(set(keys(client)) - {"p/"}) == ["p/_common_metadata", wanted[0]]
    left = ctx.sql(f"SELECT count(*) AS n FROM '{path}'").to_arrow()["n"].to_pylist()
    assert left == [pc.sum(pc.equal(trades["symbol"], symbols[0])).as_py()]
    assert os.listdir(tmp_path) == []
    client.put_object(Bucket="saved", Key="p/thesis.tex", Body=b"years of work")
    with pytest.raises(fin_sql.SourceError, match="holds 'thesis.tex', which is no data file"):
        ctx.sql(copy.format(some) + " OPTIONS (overwrite true)")


def test_a_statement_that_fails_sends_nothing(ctx, client, tmp_path):
    ctx.sql("COPY (SELECT 1 AS a) TO 's3://saved/t.csv'")
    with pytest.raises(fin_sql.SqlError, match="Divide by zero"):
        ctx.sql("COPY (SELECT 1 / (seq - seq) AS a FROM trades) TO 's3://saved/t.csv'")
    assert bytes_of(client, "t.csv") == b"a\n1\n" and os.listdir(tmp_path) == []
    with pytest.raises(fin_sql.SourceError, match="'s3://nope/t.csv' cannot be written"):
        ctx.sql("COPY trades TO 's3://nope/t.csv'")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_broken_off_is_sent_again(ctx, client, tmp_path, monkeypatch):
    copy = "COPY (SELECT seq, symbol, {} AS v FROM trades) TO 's3://saved/p' STORED AS CSV " \
           "PARTITIONED BY (symbol) OPTIONS (overwrite true)"  # fmt: skip
    ctx.sql(copy.format(1))
    whole = keys(client)
    send, sent = staging.Remote._send, []

    def broken(self, path, key):
        if len(sent) == 2:
            raise OSError("the line is dead")
        sent.append(key)
        send(self, path, key)

    with monkeypatch.context() as patched:
        patched.setattr(staging.Remote, "_send", broken)
        with pytest.raises(fin_sql.SourceError, match="the line is dead"):
            ctx.sql(copy.format(2))
    # Each object is an old or a new one, whole, and none is missing.
    assert keys(client) == whole and len(sent) == 2
    for key in whole:
        if key.endswith(".csv"):
            lines = bytes_of(client, key).decode().splitlines()
            wanted = "2" if f"saved/{key}" in sent else "1"
            assert {line.split(",")[1] for line in lines[1:]} == {wanted}
    ctx.sql(copy.format(3))
    assert keys(client) == whole and os.listdir(tmp_path) == []
    assert all(b",3\n" in bytes_of(client, key) for key in whole if key.endswith(".csv"))


def test_what_a_killed_statement_left_here_goes(ctx, client, tmp_path):
    digest = staging.hashlib.sha256(b"s3://saved/t.csv").hexdigest()[:16]
    left = Path(tmp_path / f".fin_sql-{digest}.01234567.part")
    left.write_text("half")
    ctx.sql("COPY (SELECT 1 AS a) TO 's3://saved/other.csv'")
    assert left.exists()
    ctx.sql("COPY (SELECT 1 AS a) TO 's3://saved/t.csv'")
    assert os.listdir(tmp_path) == []
