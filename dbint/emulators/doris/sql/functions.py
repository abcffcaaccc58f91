"""The functions that the emulator knows, and how DuckDB computes what Doris would.

Only what stands here can be called. A scalar function is a DuckDB macro of the same name (``fn__`` before
it), so that DuckDB's own functions of that name, which may mean something else, are never reached. Source:
the "Functions" part of the Doris SQL manual.
"""

import re

PREFIX = "fn__"

# Aggregates and window functions run under DuckDB's own name: a macro can take neither DISTINCT nor OVER.
AGGREGATES = {
    "count": "count",
    "sum": "sum",
    "avg": "avg",
    "min": "min",
    "max": "max",
    "any_value": "any_value",
    "any": "any_value",
    "stddev": "stddev_pop",
    "stddev_pop": "stddev_pop",
    "stddev_samp": "stddev_samp",
    "variance": "var_pop",
    "var_pop": "var_pop",
    "variance_pop": "var_pop",
    "variance_samp": "var_samp",
    "var_samp": "var_samp",
    "corr": "corr",
    "covar": "covar_pop",
    "covar_samp": "covar_samp",
    "group_bit_and": "bit_and",
    "group_bit_or": "bit_or",
    "group_bit_xor": "bit_xor",
    "median": "median",
    "percentile": "quantile_cont",
    "max_by": "arg_max",
    "min_by": "arg_min",
    "bool_and": "bool_and",
    "bool_or": "bool_or",
    "group_concat": "string_agg",
}
WINDOW_ONLY = frozenset(
    [
        "row_number",
        "rank",
        "dense_rank",
        "percent_rank",
        "cume_dist",
        "ntile",
        "lag",
        "lead",
        "first_value",
        "last_value",
        "nth_value",
    ]
)

# name(parameters) AS expression. Several arities of one function stand together, separated by commas, as
# DuckDB wants. A macro is expanded as text: what uses its parameter ten times, and is nested five times, is
# written out 100,000 times. So text(), which is in almost all others, has its value in a lambda's variable.
_SCALARS = r"""
float_text(x, digits) AS CASE WHEN isnan(x) THEN 'NaN' WHEN isinf(x) THEN CASE WHEN x > 0 THEN 'Infinity' ELSE '-Infinity' END ELSE format('{:.' || digits || 'g}', x) END
text(x) AS list_transform([x], lambda v: CASE typeof(v) WHEN 'BOOLEAN' THEN CASE CAST(v AS VARCHAR) WHEN 'true' THEN '1' WHEN 'false' THEN '0' END WHEN 'DOUBLE' THEN fn__float_text(TRY_CAST(CAST(v AS VARCHAR) AS DOUBLE), 16) WHEN 'FLOAT' THEN fn__float_text(TRY_CAST(CAST(v AS VARCHAR) AS DOUBLE), 7) ELSE CAST(v AS VARCHAR) END)[1]
number(x) AS CASE WHEN typeof(x) IN ('DATE', 'TIMESTAMP') THEN error('[dbint emulator] arithmetic with a DATE or DATETIME is not emulated; Doris itself supports it') ELSE x END
divisible(x) AS CASE WHEN typeof(x) LIKE 'DECIMAL%' THEN error('[dbint emulator] the division of DECIMAL (cast an operand to DOUBLE) is not emulated; Doris itself supports it') ELSE fn__number(x) END
whole(x) AS CASE WHEN typeof(x) LIKE 'DECIMAL%' OR typeof(x) IN ('DOUBLE', 'FLOAT') THEN error('[dbint emulator] a number with a fraction here is not emulated; Doris itself supports it') ELSE fn__number(x) END
in_range(x, name, value, n) AS CASE WHEN x < TIMESTAMP '0001-01-01 00:00:00' OR x > TIMESTAMP '9999-12-31 23:59:59.999999' THEN error('doris: Operation ' || name || ' of ' || value || ', ' || n || ' out of range') ELSE x END
abs(x) AS abs(x)
acos(x) AS CASE WHEN abs(x) <= 1 THEN acos(x) END
asin(x) AS CASE WHEN abs(x) <= 1 THEN asin(x) END
atan(x) AS atan(x)
atan2(y, x) AS atan2(y, x)
ceil(x) AS ceil(x)
ceiling(x) AS ceil(x)
floor(x) AS floor(x)
cos(x) AS cos(x)
cot(x) AS cot(x)
degrees(x) AS degrees(x)
radians(x) AS radians(x)
e() AS exp(1)
exp(x) AS exp(x)
ln(x) AS CASE WHEN x > 0 THEN ln(x) END
log(b, x) AS CASE WHEN x > 0 AND b > 0 AND b <> 1 THEN ln(x) / ln(b) END
log2(x) AS CASE WHEN x > 0 THEN log2(x) END
log10(x) AS CASE WHEN x > 0 THEN log10(x) END
mod(a, b) AS a % b
pi() AS pi()
pow(x, y) AS pow(x, y)
power(x, y) AS pow(x, y)
rand() AS random()
random() AS random()
round(x) AS round(x), (x, d) AS round(x, d)
sign(x) AS sign(x)
sin(x) AS sin(x)
sqrt(x) AS CASE WHEN x >= 0 THEN sqrt(x) END
tan(x) AS tan(x)
bitand(a, b) AS a & b
bitor(a, b) AS a | b
bitxor(a, b) AS xor(a, b)
bitnot(a) AS ~a
bit_shift_left(a, b) AS CASE WHEN b BETWEEN 0 AND 63 THEN CAST(((CAST(a AS HUGEINT) * CAST(pow(2, b) AS HUGEINT) + 9223372036854775808) % 18446744073709551616 + 18446744073709551616) % 18446744073709551616 - 9223372036854775808 AS BIGINT) WHEN b IS NOT NULL THEN error('[dbint emulator] BIT_SHIFT_LEFT by other than 0 to 63 bits is not emulated; Doris itself supports it') END
bit_shift_right(a, b) AS CASE WHEN b = 0 THEN CAST(a AS BIGINT) WHEN b BETWEEN 1 AND 63 THEN CAST(CASE WHEN a < 0 THEN a + 18446744073709551616 ELSE CAST(a AS HUGEINT) END // CAST(pow(2, b) AS HUGEINT) AS BIGINT) WHEN a IS NOT NULL AND b IS NOT NULL THEN 0 END
ascii(s) AS CASE WHEN s = '' THEN 0 ELSE CAST('0x' || left(hex(encode(fn__text(s))), 2) AS INTEGER) END
char_length(s) AS CAST(length(fn__text(s)) AS INTEGER)
character_length(s) AS CAST(length(fn__text(s)) AS INTEGER)
length(s) AS CAST(strlen(fn__text(s)) AS INTEGER)
bit_length(s) AS CAST(8 * strlen(fn__text(s)) AS INTEGER)
ends_with(s, x) AS ends_with(s, x)
starts_with(s, x) AS starts_with(s, x)
hex(x) AS CASE WHEN typeof(x) = 'VARCHAR' THEN hex(encode(CAST(x AS VARCHAR))) ELSE hex(TRY_CAST(CAST(fn__whole(x) AS VARCHAR) AS BIGINT)) END
find_in_set(x, s) AS CASE WHEN contains(x, ',') THEN 0 ELSE coalesce(list_position(string_split(s, ','), x), 0) + CAST(length(x || s) * 0 AS INTEGER) END
unhex(s) AS TRY(decode(unhex(s)))
instr(s, x) AS CAST(instr(s, x) AS INTEGER)
locate(x, s) AS CAST(instr(s, x) AS INTEGER), (x, s, p) AS CASE WHEN p < 1 OR p > length(fn__text(s)) THEN 0 ELSE CAST(CASE WHEN instr(substr(s, p), x) > 0 THEN instr(substr(s, p), x) + p - 1 ELSE 0 END AS INTEGER) END
lcase(s) AS lower(fn__text(s))
lower(s) AS lower(fn__text(s))
ucase(s) AS upper(fn__text(s))
upper(s) AS upper(fn__text(s))
initcap(s) AS list_aggregate(list_transform(string_split(lower(s), ' '), lambda w: upper(w[1]) || w[2:]), 'string_agg', ' ')
left(s, n) AS CASE WHEN n <= 0 THEN '' ELSE left(fn__text(s), n) END
strleft(s, n) AS CASE WHEN n <= 0 THEN '' ELSE left(fn__text(s), n) END
right(s, n) AS CASE WHEN n <= 0 THEN '' ELSE right(fn__text(s), n) END
strright(s, n) AS CASE WHEN n <= 0 THEN '' ELSE right(fn__text(s), n) END
lpad(s, n, p) AS CASE WHEN n >= 0 THEN lpad(fn__text(s), n, p) END
rpad(s, n, p) AS CASE WHEN n >= 0 THEN rpad(fn__text(s), n, p) END
ltrim(s) AS ltrim(fn__text(s), ' ')
rtrim(s) AS rtrim(fn__text(s), ' ')
trim(s) AS trim(fn__text(s), ' ')
md5(s) AS md5(fn__text(s))
sha1(s) AS sha1(fn__text(s))
sha(s) AS sha1(fn__text(s))
repeat(s, n) AS CASE WHEN n <= 0 THEN '' ELSE repeat(fn__text(s), n) END
replace(s, a, b) AS replace(fn__text(s), a, b)
reverse(s) AS reverse(fn__text(s))
space(n) AS CASE WHEN n <= 0 THEN '' ELSE repeat(' ', n) END
strcmp(a, b) AS CASE WHEN a < b THEN -1 WHEN a > b THEN 1 WHEN a = b THEN 0 END
substr(s, p) AS CASE WHEN p = 0 OR p < -length(fn__text(s)) THEN '' ELSE substr(fn__text(s), p) END, (s, p, n) AS CASE WHEN p = 0 OR p < -length(fn__text(s)) OR n <= 0 THEN '' ELSE substr(fn__text(s), p, n) END
substring(s, p) AS CASE WHEN p = 0 OR p < -length(fn__text(s)) THEN '' ELSE substr(fn__text(s), p) END, (s, p, n) AS CASE WHEN p = 0 OR p < -length(fn__text(s)) OR n <= 0 THEN '' ELSE substr(fn__text(s), p, n) END
mid(s, p, n) AS CASE WHEN p = 0 OR p < -length(fn__text(s)) OR n <= 0 THEN '' ELSE substr(fn__text(s), p, n) END
split_part(s, d, n) AS CASE WHEN n <> 0 AND abs(n) <= len(string_split(s, d)) AND contains(s, d) THEN split_part(s, d, n) END
null_or_empty(s) AS coalesce(s = '', true)
not_null_or_empty(s) AS NOT coalesce(s = '', true)
regexp(s, p) AS regexp_matches(s, p)
regexp_extract(s, p, n) AS regexp_extract(s, p, n)
regexp_replace(s, p, r) AS regexp_replace(s, p, r, 'g')
uuid() AS CAST(uuid() AS VARCHAR)
if(c, a, b) AS CASE WHEN c THEN a ELSE b END
ifnull(a, b) AS coalesce(a, b)
nvl(a, b) AS coalesce(a, b)
nullif(a, b) AS nullif(a, b)
isnull(a) AS a IS NULL
date(x) AS CAST(x AS DATE)
to_date(x) AS CAST(x AS DATE)
year(x) AS CAST(year(CAST(x AS TIMESTAMP)) AS SMALLINT)
quarter(x) AS CAST(quarter(CAST(x AS TIMESTAMP)) AS TINYINT)
month(x) AS CAST(month(CAST(x AS TIMESTAMP)) AS TINYINT)
day(x) AS CAST(day(CAST(x AS TIMESTAMP)) AS TINYINT)
dayofmonth(x) AS CAST(day(CAST(x AS TIMESTAMP)) AS TINYINT)
dayofweek(x) AS CAST(dayofweek(CAST(x AS TIMESTAMP)) + 1 AS TINYINT)
weekday(x) AS CAST((dayofweek(CAST(x AS TIMESTAMP)) + 6) % 7 AS TINYINT)
dayofyear(x) AS CAST(dayofyear(CAST(x AS TIMESTAMP)) AS SMALLINT)
weekofyear(x) AS CAST(weekofyear(CAST(x AS TIMESTAMP)) AS TINYINT)
hour(x) AS CAST(hour(CAST(x AS TIMESTAMP)) AS TINYINT)
minute(x) AS CAST(minute(CAST(x AS TIMESTAMP)) AS TINYINT)
second(x) AS CAST(second(CAST(x AS TIMESTAMP)) AS TINYINT)
microsecond(x) AS CAST(microsecond(CAST(x AS TIMESTAMP)) % 1000000 AS INTEGER)
dayname(x) AS dayname(CAST(x AS TIMESTAMP))
monthname(x) AS monthname(CAST(x AS TIMESTAMP))
datediff(a, b) AS CAST(datediff('day', CAST(b AS DATE), CAST(a AS DATE)) AS INTEGER)
last_day(x) AS last_day(CAST(x AS DATE))
makedate(y, n) AS CASE WHEN n > 0 THEN make_date(CAST(y AS BIGINT), 1, 1) + CAST(n - 1 AS INTEGER) END
days_diff(a, b) AS datesub('day', CAST(b AS TIMESTAMP), CAST(a AS TIMESTAMP))
weeks_diff(a, b) AS datesub('week', CAST(b AS TIMESTAMP), CAST(a AS TIMESTAMP))
hours_diff(a, b) AS datesub('hour', CAST(b AS TIMESTAMP), CAST(a AS TIMESTAMP))
minutes_diff(a, b) AS datesub('minute', CAST(b AS TIMESTAMP), CAST(a AS TIMESTAMP))
seconds_diff(a, b) AS datesub('second', CAST(b AS TIMESTAMP), CAST(a AS TIMESTAMP))
month_count(a, b) AS datediff('month', a, b) + CASE WHEN datediff('month', a, b) > 0 AND b - date_trunc('month', b) < a - date_trunc('month', a) THEN -1 WHEN datediff('month', a, b) < 0 AND b - date_trunc('month', b) > a - date_trunc('month', a) THEN 1 ELSE 0 END
months_diff(a, b) AS fn__month_count(CAST(b AS TIMESTAMP), CAST(a AS TIMESTAMP))
quarters_diff(a, b) AS fn__month_count(CAST(b AS TIMESTAMP), CAST(a AS TIMESTAMP)) // 3
years_diff(a, b) AS fn__month_count(CAST(b AS TIMESTAMP), CAST(a AS TIMESTAMP)) // 12
milliseconds_diff(a, b) AS datesub('millisecond', CAST(b AS TIMESTAMP), CAST(a AS TIMESTAMP))
microseconds_diff(a, b) AS datesub('microsecond', CAST(b AS TIMESTAMP), CAST(a AS TIMESTAMP))
json_extract(j, p) AS json_extract(CAST(j AS JSON), p)
jsonb_extract(j, p) AS json_extract(CAST(j AS JSON), p)
json_extract_string(j, p) AS CASE WHEN json_type(CAST(j AS JSON), p) = 'NULL' THEN 'null' ELSE json_extract_string(CAST(j AS JSON), p) END
jsonb_extract_string(j, p) AS CASE WHEN json_type(CAST(j AS JSON), p) = 'NULL' THEN 'null' ELSE json_extract_string(CAST(j AS JSON), p) END
get_json_string(j, p) AS json_extract_string(CAST(j AS JSON), p)
json_extract_int(j, p) AS TRY_CAST(json_extract_string(CAST(j AS JSON), p) AS INTEGER)
jsonb_extract_int(j, p) AS TRY_CAST(json_extract_string(CAST(j AS JSON), p) AS INTEGER)
get_json_int(j, p) AS TRY_CAST(json_extract_string(CAST(j AS JSON), p) AS INTEGER)
json_extract_bigint(j, p) AS TRY_CAST(json_extract_string(CAST(j AS JSON), p) AS BIGINT)
jsonb_extract_bigint(j, p) AS TRY_CAST(json_extract_string(CAST(j AS JSON), p) AS BIGINT)
get_json_bigint(j, p) AS TRY_CAST(json_extract_string(CAST(j AS JSON), p) AS BIGINT)
json_extract_double(j, p) AS TRY_CAST(json_extract_string(CAST(j AS JSON), p) AS DOUBLE)
jsonb_extract_double(j, p) AS TRY_CAST(json_extract_string(CAST(j AS JSON), p) AS DOUBLE)
get_json_double(j, p) AS TRY_CAST(json_extract_string(CAST(j AS JSON), p) AS DOUBLE)
json_extract_bool(j, p) AS TRY_CAST(json_extract_string(CAST(j AS JSON), p) AS BOOLEAN)
jsonb_extract_bool(j, p) AS TRY_CAST(json_extract_string(CAST(j AS JSON), p) AS BOOLEAN)
json_type(j, p) AS CASE json_type(CAST(j AS JSON), p) WHEN 'VARCHAR' THEN 'string' WHEN 'BOOLEAN' THEN 'bool' WHEN 'DOUBLE' THEN 'double' WHEN 'NULL' THEN 'null' WHEN 'ARRAY' THEN 'array' WHEN 'OBJECT' THEN 'object' WHEN 'HUGEINT' THEN 'largeint' WHEN 'UHUGEINT' THEN 'largeint' WHEN 'BIGINT' THEN CASE WHEN TRY_CAST(json_extract_string(CAST(j AS JSON), p) AS INTEGER) IS NULL THEN 'bigint' ELSE 'int' END WHEN 'UBIGINT' THEN CASE WHEN TRY_CAST(json_extract_string(CAST(j AS JSON), p) AS INTEGER) IS NOT NULL THEN 'int' WHEN TRY_CAST(json_extract_string(CAST(j AS JSON), p) AS BIGINT) IS NOT NULL THEN 'bigint' ELSE 'largeint' END END
json_exists_path(j, p) AS json_exists(CAST(j AS JSON), p)
json_length(j) AS CASE json_type(CAST(j AS JSON)) WHEN 'ARRAY' THEN CAST(json_array_length(CAST(j AS JSON)) AS INTEGER) WHEN 'OBJECT' THEN len(json_keys(CAST(j AS JSON))) ELSE 1 END
json_unquote(j) AS CASE WHEN json_valid(j) AND json_type(CAST(j AS JSON)) = 'VARCHAR' THEN json_extract_string(CAST(j AS JSON), '$') ELSE CAST(j AS VARCHAR) END
json_valid(j) AS CAST(json_valid(CAST(j AS VARCHAR)) AS TINYINT)
json_parse(j) AS json(j)
array_contains(a, x) AS CASE WHEN a IS NOT NULL THEN CASE WHEN x IS NULL THEN len(list_filter(a, lambda v: v IS NULL)) > 0 ELSE list_contains(a, x) END END
arrays_overlap(a, b) AS CASE WHEN len(list_filter(list_concat(a, b), lambda v: v IS NULL)) > 0 THEN error('[dbint emulator] ARRAYS_OVERLAP of arrays with NULL in them is not emulated; Doris itself supports it') ELSE list_has_any(a, b) END
array_join(a, d) AS CASE WHEN a IS NOT NULL THEN coalesce(array_to_string(list_transform(list_filter(a, lambda w: w IS NOT NULL), lambda w: fn__text(w)), d), '') END, (a, d, r) AS CASE WHEN a IS NOT NULL THEN coalesce(array_to_string(list_transform(a, lambda w: coalesce(fn__text(w), r)), d), '') END
array_size(a) AS len(a)
cardinality(a) AS len(a)
conv(x, a, b) AS CASE WHEN a = 16 AND b = 10 THEN CAST(CAST('0x' || fn__text(x) AS UBIGINT) AS VARCHAR) WHEN a IS NOT NULL AND b IS NOT NULL THEN error('[dbint emulator] CONV of other bases than from 16 to 10 is not emulated; Doris itself supports it') END
element_at(a, n) AS CASE WHEN n <> 0 THEN list_extract(a, n) END
json_contains(j, x) AS CAST(json_contains(CAST(j AS JSON), CAST(x AS JSON)) AS BOOLEAN)
"""  # noqa: E501 - one function, one line

MACROS: list[str] = []
SCALARS: dict[str, frozenset[int]] = {}


def _arities(definition: str) -> frozenset[int]:
    return frozenset(
        len([p for p in parameters.split(",") if p.strip()])
        for parameters in re.findall(r"(?:^\w+|, )\(([\w, ]*)\) AS ", definition)
    )


for _line in _SCALARS.strip().splitlines():
    _name = _line.partition("(")[0]
    MACROS.append(f"{PREFIX}{_line}")
    SCALARS[_name] = _arities(_line)
# What the others are made of is not for users to call. month_count is there because DuckDB counts from one
# last day of a month to another as a full month, Doris does not.
for _name in ("float_text", "text", "number", "divisible", "whole", "in_range", "month_count"):
    del SCALARS[_name]

# Functions that translate.py writes out, because they need more than a template: how many arguments they
# take.
WRITTEN_OUT: dict[str, tuple[int, int]] = {
    "concat": (1, 255),
    "concat_ws": (2, 255),
    "coalesce": (1, 255),
    "greatest": (1, 255),
    "least": (1, 255),
    "field": (2, 255),
    "version": (0, 0),
    "database": (0, 0),
    "schema": (0, 0),
    "user": (0, 0),
    "current_user": (0, 0),
    "session_user": (0, 0),
    "connection_id": (0, 0),
    "now": (0, 1),
    "current_timestamp": (0, 1),
    "localtime": (0, 1),
    "localtimestamp": (0, 1),
    "curdate": (0, 0),
    "current_date": (0, 0),
    "utc_timestamp": (0, 1),
    "unix_timestamp": (0, 1),
    "from_unixtime": (1, 2),
    "date_format": (2, 2),
    "str_to_date": (2, 2),
    "date_trunc": (2, 2),
    "date_add": (2, 2),
    "adddate": (2, 2),
    "days_add": (2, 2),
    "date_sub": (2, 2),
    "subdate": (2, 2),
    "days_sub": (2, 2),
    "hours_add": (2, 2),
    "hours_sub": (2, 2),
    "minutes_add": (2, 2),
    "minutes_sub": (2, 2),
    "seconds_add": (2, 2),
    "seconds_sub": (2, 2),
    "weeks_add": (2, 2),
    "weeks_sub": (2, 2),
    "months_add": (2, 2),
    "months_sub": (2, 2),
    "years_add": (2, 2),
    "years_sub": (2, 2),
    "quarters_add": (2, 2),
    "quarters_sub": (2, 2),
    "milliseconds_add": (2, 2),
    "milliseconds_sub": (2, 2),
    "microseconds_add": (2, 2),
    "microseconds_sub": (2, 2),
    "yearweek": (1, 2),
    "timestampdiff": (3, 3),
    "timestampadd": (3, 3),
    "convert_tz": (3, 3),
    "week": (1, 2),
    "truncate": (2, 2),
    "sha2": (2, 2),
    "json_object": (0, 255),
    "json_array": (0, 255),
}

# Calls that Doris has and the emulator has not: with these numbers of arguments.
MORE_ARITIES: dict[str, frozenset[int]] = {
    "atan": frozenset((2,)),
    "ceil": frozenset((2,)),
    "ceiling": frozenset((2,)),
    "floor": frozenset((2,)),
    "json_contains": frozenset((3,)),
    "json_extract": frozenset(range(3, 256)),
    "json_length": frozenset((2,)),
    "jsonb_extract": frozenset(range(3, 256)),
    "log": frozenset((1,)),
    "ltrim": frozenset((2,)),
    "mid": frozenset((2,)),
    "rand": frozenset((1, 2)),
    "random": frozenset((1, 2)),
    "regexp_replace": frozenset((4,)),
    "rtrim": frozenset((2,)),
    "trim": frozenset((2,)),
    "truncate": frozenset((1,)),
    "unix_timestamp": frozenset((2,)),
}
