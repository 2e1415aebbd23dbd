"""Names of tables."""

import pyarrow as pa
import pytest

from fin_sql.catalog import Catalog, Table
from fin_sql.errors import SqlError, UnknownNameError
from fin_sql.exec.order import Order

SCHEMA = pa.schema([("ts", pa.timestamp("ns")), ("symbol", pa.string())])


def test_a_name_is_found_in_any_case_and_replaced_by_the_next_of_its_name():
    catalog = Catalog()
    catalog.add(Table("Trades", SCHEMA))
    assert catalog["TRADES"].order == Order()
    catalog.add(Table("trades", SCHEMA, Order(("ts",))))
    assert len(catalog) == 1
    assert catalog["Trades"].order == Order(("ts",))
    catalog.remove("tRades")
    assert list(catalog) == []


def test_an_unknown_name_gets_a_hint():
    catalog = Catalog()
    catalog.add(Table("trades", SCHEMA))
    with pytest.raises(UnknownNameError, match="unknown table 'trade'; did you mean 'trades'"):
        catalog["trade"]
    with pytest.raises(UnknownNameError):
        catalog.remove("trade")


def test_an_order_may_only_name_columns_of_the_table():
    with pytest.raises(SqlError, match=r"names \['time'\], but its columns are \['ts', 'symbol'\]"):
        Table("trades", SCHEMA, Order(("time",), ("symbol",)))


def test_an_order_serves_what_needs_less_of_it():
    by_time = Order(("ts", "seq"))
    by_key = Order(("ts",), ("symbol",))
    assert by_time.serves(Order(("ts",)))
    assert by_time.serves(Order(("ts",), ("symbol",)))
    assert by_key.serves(Order(("ts",), ("symbol",)))
    assert by_key.serves(Order(("ts",), ("symbol", "venue")))
    assert not by_key.serves(Order(("ts",)))
    assert not by_key.serves(by_time)
