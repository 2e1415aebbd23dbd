"""Batches that another thread makes."""

import threading
import time

import pyarrow as pa
import pytest

from fin_sql.exec.ahead import ahead


def batches(n, closed=None, error=None):
    try:
        for k in range(n):
            yield pa.record_batch({"k": [k]})
        if error is not None:
            raise error
    finally:
        if closed is not None:
            closed.append(threading.current_thread().name)


def test_the_same_batches_in_their_order():
    assert [b["k"][0].as_py() for b in ahead(batches(100))] == list(range(100))
    assert list(ahead(batches(0))) == []


class Panic(BaseException):
    """What a library may raise beside an Exception."""


@pytest.mark.parametrize("error", [ValueError("no"), Panic("no")])
def test_an_error_comes_behind_the_batches_before_it(error):
    found = ahead(batches(3, error=error))
    assert [next(found)["k"][0].as_py() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(type(error), match="no"):
        next(found)


def test_who_stops_early_leaves_no_thread_behind():
    closed = []
    stream = ahead(batches(10**9, closed))
    next(stream)
    stream.close()
    assert closed == ["fin_sql ahead"]
    assert "fin_sql ahead" not in [t.name for t in threading.enumerate()]


def test_no_more_is_made_than_may_be_ready():
    made = []

    def counted():
        for batch in batches(50):
            made.append(batch)
            yield batch

    stream = ahead(counted(), 2)
    next(stream)
    time.sleep(0.3)
    assert len(made) <= 5
    stream.close()
