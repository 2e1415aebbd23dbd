"""What the contract offers beyond what the shipped kernels use."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datafusion import SessionContext

import fin_sql
from fin_sql.columns import Slots, column
from fin_sql.errors import ArgumentTypeError, KernelError, SqlError
from fin_sql.registry import KERNELS, add
from fin_sql.snapshots import restore, snapshot
from fin_sql.states import Cancel, States
from fin_sql.testing import checks_for

pytestmark = pytest.mark.usefixtures("probe")


def apply(name, *values, **params):
    return fin_sql.kernel(name).apply(*values, **params)


def test_every_type_goes_in_and_comes_out():
    found = apply(
        "probe_types",
        pa.array([datetime(2026, 1, 2), None], pa.timestamp("ms", "America/New_York")),
        [True, False],
        pa.array([3, 4], pa.uint16()),
        pa.array([Decimal("0.1"), Decimal("2")]),
        direction="down",
        same=False,
        shift=1_000,
    )
    assert found[1].as_py() is None
    row = found[0].as_py()
    assert row["t"].value == np.datetime64("2026-01-02T00:00:00.000001").astype("M8[ns]").astype(
        int
    )
    assert (row["f"], row["i"], row["x"], row["word"]) == (False, -3, 0.6, "up")


def test_a_list_of_structs_has_a_length_for_each_row():
    found = apply("probe_list", pa.array([2, None, 0, 1]), step=0.25)
    assert found.to_pylist() == [
        [{"k": 0, "y": 0.0}, {"k": 1, "y": 0.25}],
        None,
        [],
        [{"k": 0, "y": 0.0}],
    ]
    found.validate(full=True)


def test_an_error_code_becomes_a_message_with_kernel_row_and_value():
    with pytest.raises(
        KernelError, match="kernel 'probe_list' at row 1: n must not be negative; was n = -5"
    ):
        apply("probe_list", [1, -5])
    with pytest.raises(KernelError, match="'probe_strict' at row 8200: n must not be greater") as e:
        apply("probe_strict", pa.array([*range(8200), 2_000_000, 3]))
    assert (e.value.row, e.value.code) == (8200, -7)


def test_a_missing_argument_can_be_an_error():
    with pytest.raises(
        KernelError, match="row 2: no argument may be NULL, NaN or infinite; was n = NULL"
    ):
        apply("probe_strict", [1, 2, None])


def test_a_missing_argument_can_be_seen_by_the_kernel():
    found = apply("probe_gaps", pa.array([1, None, 3, 4]), [1.0, 2.0, float("inf"), None])
    assert found.to_pylist() == [0, 1, 2, 3]


def test_growing_state_grows_and_stops_at_its_bound_with_an_error():
    bound = KERNELS["probe_median"].bind()
    states = States(bound, 1024)
    x = np.random.default_rng(0).normal(size=126)
    states.fold([column(x[:100], "float64", "x")], Slots.single(100))
    kept = snapshot(states)
    assert states.bytes_held == 1024
    states.fold([column(x[100:], "float64", "x")], Slots.single(26))
    assert states.values(1)[0].as_py() == np.median(x)
    with pytest.raises(KernelError, match="state of one key would need more than 1024 bytes"):
        states.fold([column([1.0], "float64", "x")], Slots.single(1))
    assert states.values(1)[0].as_py() == np.median(x)
    restore(states, kept)
    assert states.values(1)[0].as_py() == np.median(x[:100])


def test_growing_states_of_many_keys_grow_apart():
    rng = np.random.default_rng(1)
    keys, x = rng.integers(0, 50, 5_000), rng.normal(size=5_000)
    found = fin_sql.kernel("probe_median").apply(x, by=keys)
    for key, value in zip(found["key"].to_pylist(), found["probe_median"].to_pylist(), strict=True):
        assert value == np.median(x[keys == key])


def test_a_list_and_all_types_come_through_sql():
    ctx = fin_sql.register(SessionContext())
    found = ctx.sql(
        "SELECT probe_list(n, 0.5) AS l, "
        "probe_types(t, n > 1, n, x, 'up', true, 1, 1.0, TIMESTAMP '2025-12-31') AS s "
        "FROM (SELECT 2 AS n, TIMESTAMP '2026-01-01' AS t, 0.5 AS x)"
    ).to_pylist()
    assert found[0]["l"] == [{"k": 0, "y": 0.0}, {"k": 1, "y": 0.5}]
    assert found[0]["s"]["word"] == "up"
    assert found[0]["s"]["x"] == 1.5
    assert found[0]["s"]["t"].value == 86_400 * 10**9 + 1


@pytest.mark.parametrize(
    "origin", [datetime(1970, 1, 1, 0, 0, 1), datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), 10**9]
)
def test_a_time_as_a_parameter_is_a_datetime_or_nanoseconds(origin):
    found = apply("probe_types", pa.array([10**9]), [True], [1], [1.0], "up", origin=origin)
    assert found.field("t").cast(pa.int64()).to_pylist() == [1]
    with pytest.raises(SqlError, match="'origin' must be a time .* was 'now'"):
        apply("probe_types", pa.array([1]), [True], [1], [1.0], "up", origin="now")


def test_the_cancel_flag_stops_a_run():
    cancel = Cancel()
    cancel.set()
    states = States(fin_sql.registry.KERNELS["ewma"].bind((0.5,)))
    with pytest.raises(fin_sql.CancelledError, match="kernel 'ewma': cancelled at row 0"):
        states.run([column(np.ones(20_000), "float64", "x")], Slots.single(20_000), cancel)


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="kernel 'ewma' is defined twice"):
        add(KERNELS["ewma"])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: apply("ewma", [1.0], 0),
            SqlError,
            "kernel 'ewma': parameter 'alpha' must be in (0, 1], was 0",
        ),
        (
            lambda: apply("rolling_std", [1.0], -1),
            SqlError,
            "kernel 'rolling_std': parameter 'window' must be an integer in [1, 10000000], was -1",
        ),
        (
            lambda: apply("ewma", [1.0], None),
            SqlError,
            "kernel 'ewma': parameter 'alpha' must be in (0, 1], was NULL",
        ),
        (
            lambda: apply("ewma", ["1.5"], 0.5),
            ArgumentTypeError,
            "kernel 'ewma': argument 'x' must be DOUBLE, was string; "
            "write CAST(... AS DOUBLE) if that is meant",
        ),
        (
            lambda: apply("ewma", [1.0]),
            SqlError,
            "kernel 'ewma': parameter 'alpha' is missing; it must be in (0, 1]",
        ),
        (
            lambda: apply("vpin", [1.0]),
            ArgumentTypeError,
            "kernel 'vpin': takes 2 columns and 1 to 2 parameters: "
            "vpin(volume, side, bucket_volume, n_buckets = 50), was given 1 columns",
        ),
        (
            lambda: apply("donchian_chanel", [1.0]),
            fin_sql.UnknownNameError,
            "unknown kernel 'donchian_chanel'; did you mean 'donchian_channel'?",
        ),
        (
            lambda: apply("ewma", [1.0], 0.5, alpah=1),
            fin_sql.UnknownNameError,
            "kernel 'ewma': unknown parameter 'alpah'; did you mean 'alpha'?",
        ),
        (
            lambda: apply("ewma", [1.0], 0.5, alpha=0.5),
            SqlError,
            "kernel 'ewma': parameter 'alpha' is given twice",
        ),
        (
            lambda: apply("macd", [1.0], seed="sme"),
            SqlError,
            "kernel 'macd': parameter 'seed' must be one of 'talib', 'sma', 'first', was 'sme'",
        ),
        (
            lambda: apply("rolling_std", [1.0], 1),
            SqlError,
            "kernel 'rolling_std': 'window' must be greater than 'ddof' = 1, was 1",
        ),
        (
            lambda: apply("ewma", [2**60 + 1], 0.5),
            KernelError,
            "kernel 'ewma': argument 'x' must be a number that DOUBLE holds exactly (up to 2^53), "
            "was 1152921504606846977 at row 0; write CAST(... AS DOUBLE) to accept the rounding",
        ),
    ],
)
def test_a_wrong_call_gets_one_clear_message(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("ewma(x, 0, false) OVER (ORDER BY x)", "parameter 'alpha' must be in (0, 1], was 0.0"),
        ("rolling_std(x, -1, 1) OVER (ORDER BY x)", "must be an integer in [1, 10000000], was -1"),
        ("ewma(x, NULL, false) OVER (ORDER BY x)", "must be in (0, 1], was NULL"),
        ("ewma(x, x, false) OVER (ORDER BY x)", "parameter 'alpha' must be one constant, was"),
        ("ewma('a', 0.5, false) OVER (ORDER BY x)", "(Float64, Float64, Boolean)"),
        ("ewma(x, 0.5) OVER (ORDER BY x)", "(Float64, Float64, Boolean)"),
        ("donchian_chanel(x, 0.5, false) OVER (ORDER BY x)", "Did you mean 'donchian_channel'"),
    ],
)
def test_a_wrong_call_in_sql_says_the_same(sql, message):
    ctx = fin_sql.register(SessionContext())
    with pytest.raises(Exception) as raised:  # noqa: B017, PT011  DataFusion raises what it likes
        ctx.sql(f"SELECT {sql} FROM (VALUES (0.5), (0.25)) AS t(x)").collect()
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "name", ["probe_types", "probe_list", "probe_median", "probe_strict", "probe_gaps"]
)
def test_a_users_kernel_keeps_the_laws(name):
    checks = list(checks_for(name))
    assert len(checks) >= 6
    for check in checks:
        check()


def test_the_kernel_of_the_docs_compiles_and_keeps_the_laws(kernels_of):
    page = (Path(__file__).parents[2] / "docs" / "writing-a-kernel.md").read_text()
    own = kernels_of("energy", page.partition("```cython\n")[2].partition("```")[0])
    KERNELS.update(own)
    try:
        assert apply("energy", [3.0, 4.0]).to_pylist() == [3.0, 5.0]
        for check in checks_for("energy"):
            check()
    finally:
        del KERNELS["energy"]
