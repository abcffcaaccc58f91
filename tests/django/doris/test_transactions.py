"""atomic() on a database that cannot roll back: it works, and it never pretends."""

# ruff: noqa: PT012, PT031, SIM117, TRY301 - the blocks are what is tested

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, IntegrityError, NotSupportedError, transaction
from django.db.models import F

from dbint.django.backends.doris.transactions import DorisRollbackWarning, RollbackNotPossibleError

from .conftest import ALIAS
from .models import Event, Note, Visit

BOTH_DRIVERS = True


def test_atomic_is_a_plain_block(table):
    rows = table(Visit)
    done = []
    with transaction.atomic(using=ALIAS):
        rows.create(page="a")
        assert rows.count() == 1, "a row can be read at once, inside the block too"
        with transaction.atomic(using=ALIAS):
            rows.create(page="b")
        transaction.on_commit(lambda: done.append(1), using=ALIAS)
        assert done == []
    assert done == [1]
    assert rows.count() == 2


def test_a_block_that_fails_after_writing_says_that_the_rows_stay(table, caplog):
    rows = table(Visit)
    with pytest.warns(DorisRollbackWarning, match="1 statement "), pytest.raises(ZeroDivisionError) as caught:
        with transaction.atomic(using=ALIAS):
            rows.create(page="a")
            raise ZeroDivisionError
    assert "the rows stay" in caught.value.__notes__[0]
    assert "cannot roll back" in caplog.text
    assert rows.count() == 1


def test_a_block_that_fails_before_writing_is_silent(table, recwarn):
    rows = table(Visit)
    with pytest.raises(ZeroDivisionError) as caught, transaction.atomic(using=ALIAS):
        rows.count()
        raise ZeroDivisionError
    assert not hasattr(caught.value, "__notes__")
    assert not [w for w in recwarn if issubclass(w.category, DorisRollbackWarning)]


def test_set_rollback_after_writing_raises(table):
    rows = table(Visit)
    with pytest.raises(RollbackNotPossibleError, match="1 statement "), transaction.atomic(using=ALIAS):
        rows.create(page="a")
        transaction.set_rollback(True, using=ALIAS)
    assert rows.count() == 1
    rows.create(page="b")
    assert rows.count() == 2, "the connection works on"


def test_an_error_swallowed_in_an_inner_block_raises_at_the_end(table):
    """Without savepoints Django marks the outer block for rollback, and ends it quietly."""
    rows = table(Visit)
    with pytest.raises(RollbackNotPossibleError), transaction.atomic(using=ALIAS):
        rows.create(page="a")
        try:
            with transaction.atomic(using=ALIAS):
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
    assert rows.count() == 1


def test_manual_rollback_raises(table, connection):
    rows = table(Visit)
    transaction.set_autocommit(False, using=ALIAS)
    try:
        rows.create(page="a")
        with pytest.raises(RollbackNotPossibleError):
            transaction.rollback(using=ALIAS)
        transaction.rollback(using=ALIAS)  # nothing was written since
        rows.create(page="b")
        transaction.commit(using=ALIAS)
    finally:
        transaction.set_autocommit(True, using=ALIAS)
    assert rows.count() == 2


def test_savepoints_are_none(connection):
    with transaction.atomic(using=ALIAS):
        assert transaction.savepoint(using=ALIAS) is None


def test_a_statement_that_failed_wrote_nothing(table, recwarn):
    rows = table(Visit)
    with pytest.raises(DatabaseError), transaction.atomic(using=ALIAS):
        rows.create(page="x" * 500)
    assert not [w for w in recwarn if issubclass(w.category, DorisRollbackWarning)]


class TestBatches:
    """OPTIONS["atomic"] = "batch": the writes of a block are one transaction of Doris."""

    @pytest.fixture
    def connection(self, make_connection):
        return make_connection(OPTIONS={"atomic": "batch"})

    @pytest.fixture
    def reader(self, make_connection):
        """What others see."""
        make_connection(f"{ALIAS}_reader")
        return lambda model: model.objects.using(f"{ALIAS}_reader")

    def test_all_is_kept_at_the_end_or_nothing(self, table, reader):
        visits = table(Visit, Note, Event)
        with transaction.atomic(using=ALIAS):
            visit = visits.create(page="a")
            Note.objects.using(ALIAS).create(visit=visit, text="x")
            Event.objects.using(ALIAS).bulk_create([Event(name="e", value=n) for n in range(300)])
            assert reader(Visit).count() == 0
        assert (reader(Visit).count(), reader(Note).count(), reader(Event).count()) == (1, 1, 300)
        with pytest.raises(ZeroDivisionError), transaction.atomic(using=ALIAS):
            visits.create(page="b")
            visit.page = "changed"
            visit.save()
            Note.objects.using(ALIAS).filter(text="x").delete()
            raise ZeroDivisionError
        assert list(reader(Visit).values_list("page", flat=True)) == ["a"]
        assert reader(Note).count() == 1

    def test_rollback_really_rolls_back(self, table, recwarn):
        rows = table(Visit, Note)
        with transaction.atomic(using=ALIAS):
            rows.create(page="a")
            transaction.set_rollback(True, using=ALIAS)
        assert rows.count() == 0
        transaction.set_autocommit(False, using=ALIAS)
        try:
            rows.create(page="b")
            transaction.rollback(using=ALIAS)
            rows.create(page="c")
            transaction.commit(using=ALIAS)
        finally:
            transaction.set_autocommit(True, using=ALIAS)
        assert rows.get().page == "c"
        assert not [w for w in recwarn if issubclass(w.category, DorisRollbackWarning)]

    def test_queries_before_the_first_write_only(self, table):
        rows = table(Visit, Note)
        with transaction.atomic(using=ALIAS):
            assert rows.count() == 0
            rows.create(page="a")
            with pytest.raises(NotSupportedError, match="before the first write"):
                rows.count()
        assert rows.count() == 1

    def test_rows_are_updated_and_counted(self, table):
        rows = table(Visit, Note)
        visits = rows.bulk_create([Visit(page=page) for page in "abcd"])
        with transaction.atomic(using=ALIAS):
            for visit in visits[:2]:
                visit.count = 7
                visit.save()
            assert rows.filter(pk__in=[visits[2].pk, 5]).update(count=F("count") + 1) == 1
        assert sorted(rows.values_list("page", "count")) == [("a", 7), ("b", 7), ("c", 2), ("d", 1)]
        with transaction.atomic(using=ALIAS):
            assert rows.filter(page__in=["a", "b"]).delete()[0] == 2
            rows.bulk_create([visits[0], Visit(page="e")])
        assert sorted(rows.values_list("page", flat=True)) == ["a", "c", "d", "e"]

    def test_what_doris_would_do_wrongly_is_refused(self, table):
        """Its statements do not see the block's own writes: the second would undo the first."""
        rows = table(Visit, Note)
        visit, other = rows.bulk_create([Visit(page="a"), Visit(page="b")])

        def save_twice():
            visit.count = 5
            visit.save()
            visit.page = "x"
            visit.save()

        def update_what_may_be_the_same():
            other.count = 5
            other.save()
            rows.filter(page="a").update(count=6)

        def save_what_was_created():
            fresh = rows.create(page="c")
            fresh.count = 3
            fresh.save()

        def update_what_was_deleted():
            rows.filter(page="a")._raw_delete(ALIAS)
            rows.filter(page__gt="a").update(count=6)

        for block in (
            save_twice,
            update_what_may_be_the_same,
            save_what_was_created,
            update_what_was_deleted,
        ):
            with pytest.raises(NotSupportedError, match="already written"), transaction.atomic(using=ALIAS):
                block()
        with pytest.raises(NotSupportedError, match="Delete first"), transaction.atomic(using=ALIAS):
            rows.create(page="d")
            rows.filter(page="a")._raw_delete(ALIAS)
        assert sorted(rows.values_list("page", "count")) == [("a", 1), ("b", 1)]

    def test_a_key_that_comes_twice(self, table):
        rows = table(Visit, Note)
        rows.create(id=5, page="a")
        with pytest.raises(IntegrityError, match="id=5"), transaction.atomic(using=ALIAS):
            rows.create(page="b")
            rows.create(id=5, page="c")
        with pytest.raises(IntegrityError, match="id=6"), transaction.atomic(using=ALIAS):
            rows.create(id=6, page="b")
            rows.create(id=6, page="c")
        with transaction.atomic(using=ALIAS):
            rows.filter(page="a").delete()
            rows.create(id=5, page="again")
        assert rows.get().page == "again"

    def test_all_rows_are_deleted_without_truncate(self, table):
        for model in (Visit, Event):
            rows = table(model, *([Note] if model is Visit else []))
            rows.create(**({"page": "a"} if model is Visit else {"name": "a", "value": 1}))
            with pytest.raises(ZeroDivisionError), transaction.atomic(using=ALIAS):
                assert rows.all().delete()[0] == 1
                raise ZeroDivisionError
            assert rows.count() == 1
            assert rows.all().delete()[0] == 1
            assert rows.count() == 0

    def test_ddl_is_refused(self, table, connection):
        table(Visit)
        with transaction.atomic(using=ALIAS), connection.cursor() as cursor:
            with pytest.raises(NotSupportedError, match="TRUNCATE"):
                cursor.execute("TRUNCATE TABLE doris_tests_visit")

    def test_partial_upserts_are_refused(self, table):
        rows = table(Visit, Note)
        with pytest.raises(NotSupportedError, match="rows are written whole"):
            rows.bulk_create(
                [Visit(id=5, page="x")], update_conflicts=True, unique_fields=["id"], update_fields=["page"]
            )

    def test_an_old_server(self, table, connection, monkeypatch):
        rows = table(Visit, Note)
        monkeypatch.setattr(type(connection), "get_database_version", lambda _self: (2, 1, 8))
        with pytest.raises(NotSupportedError, match=r"needs Doris 3\.0; this is 2\.1\.8"):
            with transaction.atomic(using=ALIAS):
                rows.create(page="a")

    def test_the_setting_is_checked(self, make_connection):
        with pytest.raises(ImproperlyConfigured, match="atomic"):
            make_connection("wrong", OPTIONS={"atomic": "yes"})
