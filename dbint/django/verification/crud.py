"""Create, read, update and delete through the ORM, compared value by value."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connections, models, transaction

from dbint.django.verification.access import private_connection
from dbint.django.verification.connection import DatabaseProbe
from dbint.django.verification.scratch_model import columns, leftovers_note, project_rows, scratch_table
from dbint.verify.probe import ProbeFailed, Scope
from dbint.verify.values import AMOUNT_PLACES, difference

_MODELS_ADVICE = (
    "What was written is not what is read: compare the column's type in the database with the model's field, "
    "and the connection's character set and time zone.",
)


@dataclass(frozen=True, kw_only=True)
class CrudProbe(DatabaseProbe):
    """Walks one scratch table through everything the ORM does with rows."""

    group: str = "crud"
    deadline: float = 15.0
    writes: bool = True
    prefix: str

    def run(self, scope: Scope) -> str:
        with (
            private_connection(self.alias, scope) as connection,
            scratch_table(connection, scope, self.prefix) as model,
        ):
            rows = project_rows(connection)
            stored = model._default_manager.using(self.alias)
            self.create(scope, model, stored, rows)
            self.read(scope, stored, rows)
            self.filter(scope, stored, rows)
            self.aggregate(scope, stored, rows)
            self.update(scope, stored, rows)
            rolled_back = self.roll_back(scope, model, stored)
            self.delete(scope, stored, rows)
        said = (
            f"{len(rows)} rows, {len(rows) * len(columns())} values created, read, filtered, updated, deleted"
        )
        return said + (", rolled back" if rolled_back else "") + leftovers_note(scope)

    def create(
        self, scope: Scope, model: type[models.Model], stored: Any, rows: list[dict[str, Any]]
    ) -> None:
        scope.doing("INSERT of single rows")
        half = len(rows) // 2
        for row in rows[:half]:
            instance = model(**row)
            instance.save(using=self.alias, force_insert=True)
            self.expect("save() sets the primary key", bool(instance.pk), True)
        scope.doing("bulk INSERT")
        stored.bulk_create([model(**row) for row in rows[half:]])
        self.expect("count() after creation", stored.count(), len(rows))

    def read(self, scope: Scope, stored: Any, rows: Iterable[dict[str, Any]]) -> None:
        scope.doing("rows to be read back")
        found = {instance.name: instance for instance in stored.all()}
        differences = []
        for row in rows:
            if row["name"] not in found:
                differences.append(f"row {row['name']!r} is missing")
                continue
            for column in columns():
                line = difference(row["name"], column, row[column], getattr(found[row["name"]], column))
                if line:
                    differences.append(line)
        if differences:
            scope.details["differences"] = differences
            more = f" (and {len(differences) - 3} more)" if len(differences) > 3 else ""
            raise ProbeFailed("; ".join(differences[:3]) + more, _MODELS_ADVICE)

    def filter(self, scope: Scope, stored: Any, rows: list[dict[str, Any]]) -> None:
        scope.doing("filtered SELECTs")
        by_name = {row["name"]: row for row in rows}
        for row in rows:
            # An exact match on each text: what quoting or a character set would break.
            if row["words"] is not None:
                same = {other["name"] for other in rows if other["words"] == row["words"]}
                found = set(stored.filter(words=row["words"]).values_list("name", flat=True))
                self.expect(f"filter(words=) for row {row['name']!r}", found, same)
        big = {name for name, row in by_name.items() if row["big"] is not None and row["big"] > 42}
        after = by_name["plain"]["moment"]
        later = {name for name, row in by_name.items() if row["moment"] is not None and row["moment"] > after}
        cases: list[tuple[str, models.Q, set[str]]] = [
            ("isnull", models.Q(words__isnull=True), {"null"}),
            ("gt on integers", models.Q(big__gt=42), big),
            ("gt on datetimes", models.Q(moment__gt=after), later),
            ("contains", models.Q(words__contains="数据库"), {"scripts"}),
            ("icontains", models.Q(words__icontains="PLAIN"), {"plain", "fractions"}),
            ("in", models.Q(name__in=["csv", "quotes", "nobody"]), {"csv", "quotes"}),
            ("exact decimal", models.Q(amount=Decimal("0.000000001")), {"fractions"}),
            ("negation", ~models.Q(name="plain"), set(by_name) - {"plain"}),
            ("or", models.Q(name="null") | models.Q(flag=False), {"null", "smallest"}),
        ]
        for what, condition, expected in cases:
            found = set(stored.filter(condition).values_list("name", flat=True))
            self.expect(f"filter with {what}", found, expected)
        ordered = list(
            stored.filter(small__isnull=False).order_by("-small", "name").values_list("name", flat=True)
        )
        wanted = sorted((r for r in rows if r["small"] is not None), key=lambda r: (-r["small"], r["name"]))
        self.expect("order_by", ordered, [row["name"] for row in wanted])

    def aggregate(self, scope: Scope, stored: Any, rows: list[dict[str, Any]]) -> None:
        scope.doing("aggregates")
        present = [row for row in rows if row["amount"] is not None]
        found = stored.aggregate(
            everything=models.Count("id"),
            present=models.Count("amount"),
            total=models.Sum("amount"),
            first=models.Min("moment"),
            last=models.Max("moment"),
            largest=models.Max("big"),
        )
        expected = {
            "everything": len(rows),
            "present": len(present),
            "total": sum((row["amount"] for row in present), Decimal(0)),
            "first": min(row["moment"] for row in present),
            "last": max(row["moment"] for row in present),
            "largest": max(row["big"] for row in present),
        }
        # Sums of SQLite are doubles; the column's places are what counts.
        found["total"] = round(found["total"], AMOUNT_PLACES)
        for name, value in expected.items():
            self.expect(f"aggregate {name}", found[name], value)

    def update(self, scope: Scope, stored: Any, rows: list[dict[str, Any]]) -> None:
        scope.doing("UPDATE")
        instance = stored.get(name="plain")
        instance.words, instance.amount, instance.moment = "změněno 🦀", Decimal("-7.000000001"), None
        instance.save(using=self.alias)
        again = stored.get(pk=instance.pk)
        self.expect(
            "save() of a changed row",
            (again.words, again.amount, again.moment),
            (instance.words, instance.amount, None),
        )
        stored.filter(name__in=["csv", "quotes"]).update(small=7, words="updated")
        found = sorted(stored.filter(words="updated").values_list("name", "small"))
        self.expect("update() of several rows", found, [("csv", 7), ("quotes", 7)])
        self.expect("count() after updates", stored.count(), len(rows))

    def roll_back(self, scope: Scope, model: type[models.Model], stored: Any) -> bool:
        """False where the database has no transactions: there is nothing to prove."""
        if not connections[self.alias].features.supports_transactions:
            return False
        scope.doing("ROLLBACK")
        before = stored.count()
        with transaction.atomic(using=self.alias):
            model(name="never").save(using=self.alias, force_insert=True)
            transaction.set_rollback(True, using=self.alias)
        self.expect("count() after a rollback", stored.count(), before)
        return True

    def delete(self, scope: Scope, stored: Any, rows: list[dict[str, Any]]) -> None:
        scope.doing("DELETE")
        instance = stored.get(name="astral")
        instance.delete(using=self.alias)
        self.expect("a row that was deleted", stored.filter(name="astral").exists(), False)
        self.expect("count() after one deletion", stored.count(), len(rows) - 1)
        stored.all().delete()
        self.expect("count() after deleting all", stored.count(), 0)

    def expect(self, what: str, found: Any, expected: Any) -> None:
        if found != expected:
            raise ProbeFailed(f"{what}: expected {expected!r}, found {found!r}", _MODELS_ADVICE)
