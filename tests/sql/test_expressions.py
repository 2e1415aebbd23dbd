"""Expressions of DataFusion give the same value and type beside a kernel column as alone."""

import numpy as np
import pyarrow as pa
import pytest

import fin_sql
from fin_sql.testing.compare import assert_same_bits

ROWS = 200

EXPRESSIONS = r"""
x + 1
x * 2.5 - y / 3
-x
x % 3
i / 7
i % 7
i * i
5 / 2
5.0 / 2
i & 6
i | 8
i # 3
i << 2
i >> 1
x > y
x >= 0 AND y < 0 OR i = 3
NOT b
b IS TRUE
b IS NOT FALSE
x IS NULL
x IS NOT NULL
x IS DISTINCT FROM y
x IS NOT DISTINCT FROM x
i BETWEEN 3 AND 9
i NOT BETWEEN 3 AND 9 AND x > 0
i IN (1, 2, 3)
s IN ('a', 'b')
s NOT IN ('a', 'b')
s LIKE 'a%'
s NOT LIKE '%b'
s ILIKE 'A%'
s ~ '^a'
s !~ 'z$'
s ~* '^A'
s SIMILAR TO 'a%'
s || '-' || s
concat(s, '/', i)
concat_ws('-', s, s)
upper(s)
lower(s)
initcap(s)
length(s)
char_length(s)
octet_length(s)
bit_length(s)
left(s, 1)
right(s, 2)
lpad(s, 5, '*')
rpad(s, 5, '*')
repeat(s, 2)
reverse(s)
replace(s, 'a', 'bb')
translate(s, 'abc', 'xyz')
split_part('a,b,c', ',', 2)
strpos(s, 'b')
position('b' IN s)
substr(s, 2)
substring(s, 1, 2)
substring(s FROM 1 FOR 2)
trim(s)
btrim(s, 'a')
ltrim(s)
rtrim(s)
trim(BOTH 'a' FROM s)
trim(LEADING 'a' FROM s)
overlay(s PLACING 'Z' FROM 1 FOR 1)
starts_with(s, 'a')
ends_with(s, 'b')
contains(s, 'a')
ascii(s)
chr(65)
md5(s)
sha256(s)
encode(CAST(s AS BYTEA), 'hex')
decode('ff', 'hex')
to_hex(i)
levenshtein(s, 'abc')
regexp_like(s, 'a.')
regexp_match(s, '(a)(.)')
regexp_replace(s, 'a', 'x', 'g')
regexp_count(s, 'a')
find_in_set(s, 'a,b,ab')
'it''s'
E'x'
'-- no comment'
'/* nor this */'
'FROM ASOF JOIN ewma('
"s"
abs(x)
ceil(x)
floor(x)
round(x)
round(x, 2)
trunc(x)
trunc(x, 1)
sign(x)
signum(x)
sqrt(abs(x))
cbrt(x)
exp(x)
ln(abs(x) + 1)
log(abs(x) + 1)
log(2, abs(x) + 1)
log2(abs(x) + 1)
log10(abs(x) + 1)
power(x, 2)
pow(x, 3)
sin(x)
cos(x)
tan(x)
asin(x / 100)
acos(x / 100)
atan(x)
atan2(x, y)
sinh(x / 10)
cosh(x / 10)
tanh(x)
asinh(x)
atanh(x / 100)
cot(x + 10)
degrees(x)
radians(x)
pi()
gcd(i, 12)
lcm(i, 4)
factorial(5)
isnan(x)
iszero(x)
nanvl(x, y)
greatest(x, y)
least(x, y)
coalesce(x, y, 0.0)
nullif(x, y)
nvl(x, 0.0)
nvl2(x, 1, 2)
ifnull(x, 0.0)
CASE WHEN x > 0 THEN 'up' WHEN x < 0 THEN 'down' ELSE 'flat' END
CASE i WHEN 1 THEN 'one' WHEN 2 THEN 'two' END
CASE WHEN b THEN CASE WHEN x > 0 THEN 1 ELSE 2 END ELSE 3 END
CAST(x AS INT)
CAST(i AS VARCHAR)
CAST('2026-01-05' AS DATE)
x::BIGINT
i::DOUBLE
i::DECIMAL(10, 2)
'1.5'::DOUBLE + x
TRY_CAST(s AS INT)
arrow_cast(x, 'Float32')
arrow_typeof(x)
CAST(ts AS DATE)
CAST(ts AS BIGINT)
date '2026-01-05'
DATE '2026-01-05' + INTERVAL '1' DAY
TIMESTAMP '2026-01-05T10:00:00'
TIMESTAMP '2026-01-05T10:00:00' AT TIME ZONE 'UTC'
ts + INTERVAL '5' SECOND
ts - INTERVAL '1 day 2 hours'
ts - ts
ts > TIMESTAMP '2026-01-05T00:00:10'
to_char(ts, '%Y-%m-%d %H:%M:%S')
to_timestamp('2026-01-05T10:00:00')
to_timestamp_millis(i)
to_timestamp_seconds(i)
to_date('2026-01-05')
to_unixtime(ts)
from_unixtime(i)
date_trunc('minute', ts)
date_trunc('day', ts)
date_bin(INTERVAL '1 minute', ts)
date_bin(INTERVAL '1 minute', ts, TIMESTAMP '2026-01-01')
date_part('second', ts)
EXTRACT(year FROM ts)
EXTRACT(DOW FROM ts)
extract(epoch from ts)
make_date(2026, 1, 5)
date_format(ts, '%d')
INTERVAL '5' SECOND
INTERVAL '1' MONTH
arrow_typeof(INTERVAL '5 minutes')
[1, 2, i]
make_array(x, y)
[x, y][1]
array_length([1, 2, 3])
array_append([1, 2], 3)
array_concat([1], [2])
array_contains([1, 2], 2)
array_has([s], 'a')
array_position([1, 2], 2)
array_sort([3, 1, 2])
array_sum([1, 2, 3])
array_to_string([1, 2, 3], '-')
array_slice([1, 2, 3, 4], 2, 3)
[1, 2, 3, 4][2:3]
array_distinct([1, 1, 2])
array_max([1, 3, 2])
cardinality([1, 2])
flatten([[1], [2]])
range(1, 4)
generate_series(1, 3)
string_to_array('a,b', ',')
list_extract([1, 2], 1)
struct(x, i)
struct(x AS a, i AS b)['a']
named_struct('a', x, 'b', i)
named_struct('a', x)['a']
get_field(named_struct('a', x), 'a')
{'a': 1, 'b': x}
{'a': x}['a']
m['u']
m.u
m.u + m.v
map(['a', 'b'], [1, 2])
map(['a'], [i])['a']
map {'a': 1}
map_keys(map(['a'], [1]))
bit_length(s) + 1
version() IS NOT NULL
1e3
1.5e-3
.5
0.1 + 0.2
1_000
9223372036854775807
NULL
TRUE
CAST(NULL AS DOUBLE)
x'ff'
(x)
((x + 1) * (y - 1))
+x
- - x
x+-y
/* before */ x /* after */
d
d + 1
d * 2.5
round(d, 1)
CAST(d AS DOUBLE)
"Mixed Case"
"Mixed Case" + 1
"select"
"a""b"
"order" + "group"
i = ANY(make_array(1, 2))
union_extract(NULL, 'a') IS NULL
""".strip().splitlines()


@pytest.fixture(scope="module")
def ctx():
    rng = np.random.default_rng(7)

    def some(values, kind=None):
        return pa.array(values, kind, mask=rng.random(ROWS) < 0.1)

    ctx = fin_sql.connect(threads=2)
    ctx.register(
        "t",
        pa.table(
            {
                "ts": pa.array(
                    1767571200_000_000_000 + np.arange(ROWS) * 10**9, pa.timestamp("ns")
                ),
                "x": some(np.round(rng.normal(size=ROWS) * 10, 3)),
                "y": some(rng.normal(size=ROWS)),
                "i": pa.array(rng.integers(1, 20, ROWS)),
                "s": some(rng.choice(["a", "ab", "abc", "b", " c "], ROWS)),
                "b": some(rng.random(ROWS) < 0.5),
                "d": pa.array([f"{v:.2f}" for v in rng.normal(size=ROWS)]).cast(
                    pa.decimal128(10, 2)
                ),
                "m": pa.array([{"u": float(k), "v": k} for k in range(ROWS)]),
                "Mixed Case": np.arange(ROWS),
                "select": np.arange(ROWS),
                'a"b': np.arange(ROWS),
                "order": np.arange(ROWS),
                "group": np.arange(ROWS),
            }
        ),
    )
    return ctx


def alone(ctx, expression):
    try:
        return ctx.datafusion.sql(f"SELECT {expression} AS v FROM t").to_arrow_table()
    except BaseException as error:
        return error


def test_the_corpus_is_one_that_datafusion_takes(ctx):
    refused = [e for e in EXPRESSIONS if not isinstance(alone(ctx, e), pa.Table)]
    assert len(EXPRESSIONS) - len(refused) >= 220, refused


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_beside_a_kernel_as_alone(ctx, expression):
    wanted = alone(ctx, expression)
    query = f"SELECT {expression} AS v, ewma(x, 0.1) OVER (ORDER BY ts) AS e FROM t"
    if not isinstance(wanted, pa.Table):
        with pytest.raises(fin_sql.FinSqlError):
            ctx.sql(query).to_arrow()
        return
    found = ctx.sql(query).to_arrow()
    assert found.schema.field("v").type == wanted.schema.field("v").type
    left, right = found["v"].combine_chunks(), wanted["v"].combine_chunks()
    if pa.types.is_floating(left.type) or pa.types.is_integer(left.type):
        assert_same_bits(left, right, expression)
    else:
        assert left.equals(right) or left.to_pylist() == right.to_pylist()


def test_conditions_and_arguments_are_expressions_too(ctx):
    for expression in ("x IS DISTINCT FROM y", "s LIKE 'a%' AND i BETWEEN 3 AND 9", "x > 0 OR b"):
        window = "ewma(coalesce(x, 0) * 2, 0.1) OVER (ORDER BY ts)"
        query = f"SELECT i, {window} AS e FROM t WHERE {expression}"
        inner = f"SELECT *, coalesce(x, 0) * 2 AS z FROM t WHERE {expression} ORDER BY ts"
        ctx.register("u", ctx.datafusion.sql(inner).to_arrow_table())
        wanted = ctx.sql("SELECT i, ewma(z, 0.1) OVER (ORDER BY ts) AS e FROM u").to_arrow()
        assert ctx.sql(query).to_arrow().equals(wanted)
