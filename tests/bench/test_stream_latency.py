"""How long a tick takes from its producer's stamp until it stands in a view; make bench.

A producer, a bare consumer and a pipeline, each a process of its own, on one embedded broker: the
same run, the same messages. LATENCY_RATE ticks a second (20 000) for LATENCY_SECONDS (15).
"""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

pytestmark = pytest.mark.bench
RATE = int(os.environ.get("LATENCY_RATE", 20_000))
SECONDS = float(os.environ.get("LATENCY_SECONDS", 15))
PARTITIONS = 4

PRODUCER = """
import json, sys, time
from confluent_kafka import Producer
servers, rate, seconds, parts = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
p = Producer({"bootstrap.servers": servers, "linger.ms": 5})
begin, sent, step = time.time_ns(), 0, 0.002
while True:
    now = time.time_ns()
    due = int((now - begin) / 1e9 * rate)
    while sent < due:
        stamp = time.time_ns()
        k = sent % 20
        p.produce("ticks", b'{"ts":%d,"s":"S%d","p":%d.%02d,"q":%d}' % (
            stamp, k, 100 + sent % 7, sent % 100, 1 + sent % 5), partition=k % parts)
        sent += 1
    p.poll(0)
    if now - begin > seconds * 1e9:
        break
    time.sleep(step)
p.flush()
print(json.dumps({"sent": sent}))
"""

BARE = """
import json, sys, time
import numpy as np
from confluent_kafka import Consumer, TopicPartition
servers, seconds, parts = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
c = Consumer({"bootstrap.servers": servers, "group.id": "bare", "fetch.wait.max.ms": 5,
              "auto.offset.reset": "earliest", "enable.auto.commit": False})
c.assign([TopicPartition("ticks", k, 0) for k in range(parts)])
found, last = [], time.monotonic()
while time.monotonic() - last < 4:
    for m in c.consume(1000, 0.002):
        if m.error() is None:
            last = time.monotonic()
            v = m.value()
            found.append(time.time_ns() - int(v[6:v.index(b",")]))
print(json.dumps(found))
"""

PIPELINE = """
import json, sys, time, threading
import numpy as np
import fin_sql
servers, delay, order = sys.argv[1:4]
ctx = fin_sql.connect()
ctx.sql(f'''CREATE STREAMING TABLE ticks (ts TIMESTAMP FROM '$.ts' FORMAT 'epoch_ns',
  symbol VARCHAR FROM '$.s', price DOUBLE FROM '$.p', size DOUBLE FROM '$.q',
  WATERMARK FOR ts AS ts - INTERVAL '{delay}' MILLISECOND) WITH (connector = 'kafka',
  topic = 'ticks', bootstrap_servers = '{servers}', "order" = '{order}')''')
ctx.sql('''CREATE MATERIALIZED VIEW features WITH (retain_bytes = '64 MB') AS
  SELECT ts, symbol, price, ewma(price, 0.06) OVER w AS fast, rsi(price) OVER w AS rsi,
    rolling_std(log_returns(price), 50) OVER w AS vol
  FROM ticks WINDOW w AS (PARTITION BY symbol ORDER BY ts)''')
view = ctx.streams.pipeline.queries["features"].view
found, last, rows = [], time.monotonic(), 0
def read():
    global rows
    for batch in view.follow(0):
        now = time.time_ns()
        stamps = batch["ts"].cast("int64").to_numpy()
        found.append(now - stamps)
        rows += len(stamps)
threading.Thread(target=read, daemon=True).start()
before, quiet = -1, 0
while quiet < 4:
    time.sleep(1)
    quiet, before = (quiet + 1 if rows == before and rows else 0), rows
late = sum(f.intake.counts.late for f in ctx.streams.pipeline.feeds())
print(json.dumps({"late": late, "found": np.concatenate(found).tolist()}))
ctx.close()
"""


def started(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def answer(process):
    out, _ = process.communicate(timeout=SECONDS + 60)
    assert process.returncode == 0
    return json.loads(out.splitlines()[-1])


def shown(name, found):
    ms = np.array(found) / 1e6
    marks = [float(np.percentile(ms, p)) for p in (50, 90, 99, 99.9)]
    print(f"{name:34} {len(ms):9,} " + " ".join(f"{m:9.2f}" for m in marks))
    return marks


@pytest.mark.parametrize(
    ("delay", "order"), [(0, "event_time"), (50, "event_time"), (0, "arrival")]
)
def test_latency(delay, order):
    from fin_sql.testing.broker import Broker

    with Broker() as broker:
        broker.create_topic("ticks", PARTITIONS)
        servers = broker.bootstrap_servers
        pipeline = started(PIPELINE, servers, delay, order)
        bare = started(BARE, servers, SECONDS, PARTITIONS)
        time.sleep(3)
        sent = answer(started(PRODUCER, servers, RATE, SECONDS, PARTITIONS))["sent"]
        plain, ours = answer(bare), answer(pipeline)
    print(f"\n{RATE:,} ticks/s, {PARTITIONS} partitions, delay {delay} ms, order {order}")
    marks = " ".join(f"{name:>9}" for name in ("p50", "p90", "p99", "p99.9"))
    print(f"{'ms from the stamp':34} {'ticks':>9} {marks}")
    shown("a bare consumer", plain)
    steady = np.array(ours["found"]) - delay * 1_000_000
    shown("the view, less the delay", steady)
    edges = [0, 1, 2, 5, 10, 20, 50, 100, 1e9]
    counts, _ = np.histogram(np.maximum(steady / 1e6, 0), edges)
    print("view: " + ", ".join(f"<{b:g} ms {n}" for b, n in zip(edges[1:], counts, strict=True)))
    assert len(ours["found"]) + ours["late"] >= sent * 0.99
