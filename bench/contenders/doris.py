"""Rows into Doris and one row out of it, through Django and beside it.

``python -m bench.contenders.doris NAME COUNT`` with the environment of the stack's Doris. The table is made
anew by each run that writes; ``prepare`` makes it with one row, which the readers read.
"""

import datetime as dt
import os
import sys
from collections.abc import Callable
from typing import Any

import django
import pymysql
from django.conf import settings

from bench.measure import Stopwatch, report

BASE = {
    "HOST": os.environ["DORIS_HOST"],
    "PORT": os.environ["DORIS_QUERY_PORT"],
    "USER": os.environ["DORIS_USER"],
    "PASSWORD": os.environ["DORIS_PASSWORD"],
    "NAME": os.environ["DORIS_DATABASE"],
}
HTTP = {"http_port": int(os.environ["DORIS_HTTP_PORT"])}
DORIS = {**BASE, "ENGINE": "dbint.django.backends.doris"}
WARM_UP = 50
READ = (
    "SELECT `id`, `run_id`, `name`, `tokens`, `cost`, `at`, `ok` FROM `bench_fact` WHERE `id` = %s LIMIT 21"
)
ROW = 1

settings.configure(
    DATABASES={
        "default": {**DORIS, "OPTIONS": HTTP},
        "loading": {**DORIS, "OPTIONS": {**HTTP, "stream_load": {}}},
        "mysql": {**BASE, "ENGINE": "django.db.backends.mysql", "OPTIONS": {"isolation_level": None}},
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["dbint.django"],
    USE_TZ=True,
)
django.setup()

from django.db import connections, models  # noqa: E402 - after the settings

from dbint.django.backends.doris import DorisTable  # noqa: E402


class Fact(models.Model):
    """What an agent's run has cost."""

    id = models.BigAutoField(primary_key=True)
    run_id = models.CharField(max_length=36)
    name = models.CharField(max_length=50)
    tokens = models.BigIntegerField()
    cost = models.DecimalField(max_digits=18, decimal_places=6)
    at = models.DateTimeField()
    ok = models.BooleanField()

    class Meta:
        app_label = "bench"
        db_table = "bench_fact"
        doris = DorisTable(buckets=1)

    def __str__(self) -> str:
        return self.name


def make_table() -> None:
    with connections["default"].schema_editor() as editor:
        if "bench_fact" in connections["default"].introspection.table_names():
            editor.delete_model(Fact)
        editor.create_model(Fact)


def facts(count: int) -> list[Fact]:
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return [
        Fact(
            run_id=f"00000000-0000-0000-0000-{number:012}",
            name="agent-debug-intelligence",
            tokens=number * 7,
            cost=f"{number / 1000:.6f}",
            at=start + dt.timedelta(milliseconds=number),
            ok=number % 3 > 0,
        )
        for number in range(count)
    ]


def write(alias: str, count: int, *, given_ids: bool) -> Stopwatch:
    """``bulk_create`` of ``count`` objects; as many rows have to be there then."""
    make_table()
    objects = facts(count)
    if given_ids:  # Doris reports none, as MySQL would
        for number, fact in enumerate(objects, 1):
            fact.id = number
    connections[alias].ensure_connection()
    with Stopwatch() as watch:
        Fact.objects.using(alias).bulk_create(objects, batch_size=1000 if alias == "mysql" else None)
    stored = Fact.objects.using("default").aggregate(n=models.Count("*"), t=models.Sum("tokens"))
    if stored != {"n": count, "t": sum(fact.tokens for fact in objects)}:
        raise SystemExit(f"wrong rows: {stored}")
    return watch


def save_one_by_one(count: int) -> Stopwatch:
    """``save()`` of each object on Django's MySQL backend: an INSERT statement a row."""
    make_table()
    objects = facts(count)
    for number, fact in enumerate(objects, 1):
        fact.id = number
    connections["mysql"].ensure_connection()
    with Stopwatch() as watch:
        for fact in objects:
            fact.save(using="mysql", force_insert=True)
    if Fact.objects.using("default").count() != count:
        raise SystemExit("rows are missing")
    return watch


def repeat(count: int, read: Callable[[], object]) -> Stopwatch:
    for _ in range(WARM_UP):
        read()
    with Stopwatch() as watch:
        for _ in range(count):
            read()
    return watch


def raw_read(cursor: Any) -> None:
    cursor.execute(READ, [ROW])
    if cursor.fetchone() is None:
        raise SystemExit("the row is not there")


def read_by_pymysql(count: int) -> Stopwatch:
    connection = pymysql.connect(
        host=BASE["HOST"],
        port=int(BASE["PORT"]),
        user=BASE["USER"],
        password=BASE["PASSWORD"],
        database=BASE["NAME"],
        autocommit=True,
    )

    def read() -> None:
        with connection.cursor() as cursor:
            raw_read(cursor)

    return repeat(count, read)


def read_by_cursor(count: int) -> Stopwatch:
    def read() -> None:
        with connections["default"].cursor() as cursor:
            raw_read(cursor)

    return repeat(count, read)


def read_by_orm(alias: str, count: int) -> Stopwatch:
    return repeat(count, lambda: Fact.objects.using(alias).get(pk=ROW))


def use_pymysql_as_mysqldb() -> None:
    """Django's MySQL backend on the driver of ours, and on a server whose version it would refuse."""
    pymysql.install_as_MySQLdb()
    from django.db.backends.mysql import base, features  # which imports the driver

    base.DatabaseWrapper.check_database_version_supported = lambda _self: None  # type: ignore[method-assign]
    features.DatabaseFeatures.minimum_database_version = (5, 7)  # type: ignore[assignment]


CONTENDERS: dict[str, Callable[[int], Stopwatch]] = {
    "load": lambda count: write("loading", count, given_ids=False),
    "insert": lambda count: write("default", count, given_ids=False),
    "insert-mysql": lambda count: write("mysql", count, given_ids=True),
    "save-mysql": save_one_by_one,
    "read-pymysql": read_by_pymysql,
    "read-cursor": read_by_cursor,
    "read-orm": lambda count: read_by_orm("default", count),
    "read-orm-mysql": lambda count: read_by_orm("mysql", count),
}


def main() -> None:
    name, count = sys.argv[1], int(sys.argv[2])
    if name == "prepare":
        make_table()
        fact = facts(1)[0]
        fact.id = ROW
        fact.save(using="default", force_insert=True)
        return
    if name.endswith("-mysql"):
        use_pymysql_as_mysqldb()
    versions = {"Django": django.get_version(), "PyMySQL": pymysql.__version__}
    report(CONTENDERS[name](count), count, versions)


if __name__ == "__main__":
    main()
