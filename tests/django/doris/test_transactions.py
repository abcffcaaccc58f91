"""atomic() on a database that cannot roll back: it works, and it never pretends."""

# ruff: noqa: PT012, PT031, SIM117, TRY301 - the blocks are what is tested

import pytest
from django.db import DatabaseError, transaction

from dbint.django.backends.doris.transactions import DorisRollbackWarning, RollbackNotPossibleError

from .conftest import ALIAS
from .models import Visit


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
