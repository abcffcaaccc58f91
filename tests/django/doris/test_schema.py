"""Tables: made, changed, refused, read back, as models and as migrations do it."""

import io

import pytest
from django.apps.registry import Apps
from django.core.management import call_command
from django.db import NotSupportedError, OperationalError, connections, migrations, models
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.state import ProjectState

from dbint.django.backends.doris import DorisTable, checks
from dbint.django.backends.doris.schema import DatabaseSchemaEditor

from .conftest import ALIAS
from .models import Daily, Event, Everything, Note, Reading, Subject, Topic, Visit

number = models.IntegerField


def sql_of(connection, model) -> str:
    return DatabaseSchemaEditor(connection, collect_sql=True).table_sql(model)[0]


def make(name: str, meta: dict | None = None, /, **fields):
    """A model class."""
    options = type("Meta", (), {"app_label": "doris_schema", "apps": Apps(), **(meta or {})})
    return type(name, (models.Model,), {"__module__": __name__, "Meta": options, **fields})


class TestCreateTable:
    def test_defaults(self, make_connection):
        connection = make_connection("sql", OPTIONS={"replication_num": 2})
        assert sql_of(connection, Visit) == (
            "CREATE TABLE `doris_tests_visit` (\n"
            "  `id` BIGINT NOT NULL,\n"
            "  `page` VARCHAR(200) NOT NULL,\n"
            "  `count` INT NOT NULL,\n"
            "  `at` DATETIME(6) NOT NULL\n"
            ")\n"
            "UNIQUE KEY (`id`)\n"
            "DISTRIBUTED BY HASH(`id`) BUCKETS AUTO\n"
            'PROPERTIES ("enable_unique_key_merge_on_write" = "true", "replication_num" = "2")'
        )

    def test_options(self, connection):
        model = make(
            "Options",
            {
                "db_table_comment": "it's a table",
                "doris": DorisTable(
                    key=("day", "id"),
                    distributed_by=("id",),
                    buckets=3,
                    partition_by="AUTO RANGE(date_trunc(day, 'month')) ()",
                    sequence_column="version",
                    properties={"replication_num": "1", "compression": "zstd"},
                ),
                "indexes": [models.Index(fields=["name"], name="by_name")],
            },
            id=models.BigAutoField(primary_key=True),
            name=models.CharField(max_length=10, db_comment='the "name"'),
            version=models.IntegerField(db_default=0),
            day=models.DateField(),
        )
        assert sql_of(connection, model) == (
            "CREATE TABLE `doris_schema_options` (\n"
            "  `day` DATE NOT NULL,\n"
            "  `id` BIGINT NOT NULL,\n"
            "  `name` VARCHAR(40) NOT NULL COMMENT 'the \\\"name\\\"',\n"
            "  `version` INT NOT NULL DEFAULT '0',\n"
            "  INDEX `by_name` (`name`) USING INVERTED\n"
            ")\n"
            "UNIQUE KEY (`day`, `id`)\n"
            "COMMENT 'it\\'s a table'\n"
            "AUTO PARTITION BY RANGE(date_trunc(day, 'month')) ()\n"
            "DISTRIBUTED BY HASH(`id`) BUCKETS 3\n"
            'PROPERTIES ("enable_unique_key_merge_on_write" = "true", '
            '"function_column.sequence_col" = "version", "replication_num" = "1", "compression" = "zstd")'
        )

    def test_key_columns_come_first(self, connection, table):
        table(Daily)
        with connection.cursor() as cursor:
            definition = connection.introspection.table_definition(cursor, "doris_tests_daily")
        assert [c.name for c in definition.columns] == ["day", "id", "value"]
        assert (definition.key, definition.distributed_by) == (["day", "id"], ["id"])

    def test_replicas_fit_the_cluster(self, connection, table):
        assert connection.introspection.alive_backends() == 1
        table(Visit)
        assert '"replication_num" = "1"' in sql_of(connection, Visit)

    @pytest.mark.parametrize("kind", [models.AutoField, models.SmallAutoField])
    def test_a_relation_is_as_wide_as_the_id_that_it_points_to(self, connection, kind):
        target = make("Target", id=kind(primary_key=True))
        pointing = make(
            "Pointing",
            id=models.BigAutoField(primary_key=True),
            target=models.ForeignKey(target, models.CASCADE, db_constraint=False),
        )
        assert "`id` BIGINT" in sql_of(connection, target)
        assert "`target_id` BIGINT NOT NULL" in sql_of(connection, pointing)

    @pytest.mark.parametrize(
        ("message", "meta", "fields"),
        [
            ("base64", {}, {"data": models.BinaryField()}),
            ("unique=True", {}, {"name": models.CharField(max_length=9, unique=True)}),
            ("unique_together", {"unique_together": [("a", "b")]}, {"a": number(), "b": number()}),
            (
                "constraint one",
                {"constraints": [models.UniqueConstraint(fields=["a"], name="one")]},
                {"a": number()},
            ),
            ("cannot be in a table's key", {"doris": DorisTable(key=("t",))}, {"t": models.TextField()}),
            ("cannot be in a table's key", {"doris": DorisTable(key=("f",))}, {"f": models.FloatField()}),
            (
                "one column",
                {"indexes": [models.Index(fields=["a", "b"], name="i")]},
                {"a": number(), "b": number()},
            ),
        ],
    )
    def test_refused(self, connection, message, meta, fields):
        fields = {"id": models.BigAutoField(primary_key=True), **{n: f.clone() for n, f in fields.items()}}
        model = make("Refused", meta, **fields)
        with pytest.raises(NotSupportedError, match=message):
            sql_of(connection, model)

    def test_unique_that_is_the_key_is_kept(self, connection):
        model = make(
            "Kept",
            {"unique_together": [("a", "id")], "doris": DorisTable(key=("a", "id"))},
            id=models.BigAutoField(primary_key=True),
            a=models.IntegerField(),
        )
        assert "UNIQUE KEY (`a`, `id`)" in sql_of(connection, model)

    def test_many_to_many(self, connection, table):
        """The pair is the key: it is there once, however often it is added."""

        subjects, topics = table(Subject), table(Topic)
        through = Topic.subjects.through
        assert "UNIQUE KEY (`topic_id`, `subject_id`)" in sql_of(connection, through)
        topic, subject = topics.create(), subjects.create()
        topic.subjects.add(subject)
        topic.subjects.add(subject)
        with connection.cursor() as cursor:  # as another process would at the same moment
            names = "`topic_id`, `subject_id`, `id`"
            values = [topic.pk, subject.pk, 7]
            cursor.execute(f"INSERT INTO `{through._meta.db_table}` ({names}) VALUES (%s, %s, %s)", values)  # noqa: S608
        assert list(topic.subjects.all()) == [subject]
        assert list(subject.topics.all()) == [topic]
        assert through.objects.using(ALIAS).count() == 1
        topic.subjects.remove(subject)
        assert through.objects.using(ALIAS).count() == 0
        with connection.schema_editor() as editor:
            editor.delete_model(Topic)
        assert through._meta.db_table not in connection.introspection.table_names()


class TestMigrations:
    """Operations against a real table, each with its state, as migrate runs them."""

    @pytest.fixture
    def run(self, connection):
        state = ProjectState()
        tables = set()

        def apply(*operations):
            nonlocal state
            for operation in operations:
                after = state.clone()
                operation.state_forwards("doris_steps", after)
                with connection.schema_editor() as editor:
                    operation.database_forwards("doris_steps", editor, state, after)
                state = after
                tables.update(m._meta.db_table for m in state.apps.get_models())
            return lambda name: state.apps.get_model("doris_steps", name).objects.using(ALIAS)

        yield apply
        with connection.cursor() as cursor:
            for name in tables:
                cursor.execute(f"DROP TABLE IF EXISTS `{name}`")

    @pytest.fixture
    def thing(self, run):
        rows = run(
            migrations.CreateModel(
                "Thing",
                [
                    ("id", models.BigAutoField(primary_key=True)),
                    ("name", models.CharField(max_length=10)),
                    ("n", models.IntegerField(null=True)),
                ],
                options={"doris": DorisTable(buckets=1)},
            )
        )("Thing")
        rows.create(name="first", n=1)
        return rows

    def test_add_fields(self, run, thing):
        rows = run(
            migrations.AddField("Thing", "size", models.IntegerField(default=7)),
            migrations.AddField("Thing", "note", models.TextField(null=True)),
            migrations.AddField(
                "Thing", "price", models.DecimalField(max_digits=9, decimal_places=2, default="1.50")
            ),
            migrations.AddField("Thing", "label", models.CharField(max_length=5, default="it's")),
            migrations.AddField("Thing", "on", models.BooleanField(default=True)),
        )("Thing")
        found = rows.get()
        assert (found.name, found.size, found.note, str(found.price), found.label, found.on) == (
            "first",
            7,
            None,
            "1.50",
            "it's",
            True,
        )
        assert rows.create(name="second", size=8, on=False).pk != found.pk
        assert rows.count() == 2

    def test_add_what_cannot_be_added(self, run, thing):
        for field, message in (
            (models.JSONField(default=dict), "null=True"),
            (models.IntegerField(unique=True, null=True), "unique"),
            (models.BinaryField(null=True), "base64"),
        ):
            with pytest.raises(NotSupportedError, match=message):
                run(migrations.AddField("Thing", "new", field))

    def test_remove_and_rename_fields(self, run, thing):
        rows = run(migrations.RenameField("Thing", "n", "number"))("Thing")
        assert rows.get().number == 1
        rows = run(migrations.RemoveField("Thing", "number"))("Thing")
        assert rows.get().name == "first"

    def test_widen_a_column(self, run, thing):
        rows = run(
            migrations.AlterField("Thing", "name", models.CharField(max_length=30)),
            migrations.AlterField("Thing", "n", models.BigIntegerField(null=True)),
        )("Thing")
        row = rows.get()
        row.name, row.n = "x" * 30, 2**40
        row.save()
        assert rows.get().n == 2**40

    def test_widen_a_column_that_was_added_with_a_default(self, run, thing):
        rows = run(
            migrations.AddField("Thing", "size", models.IntegerField(default=7)),
            migrations.AlterField("Thing", "size", models.BigIntegerField(default=7)),
        )("Thing")
        assert rows.get().size == 7

    def test_not_null_becomes_null(self, run, thing):
        rows = run(migrations.AlterField("Thing", "name", models.CharField(max_length=10, null=True)))(
            "Thing"
        )
        rows.create(name=None)
        assert rows.filter(name=None).count() == 1

    def test_comments(self, run, thing, connection):
        run(
            migrations.AlterField(
                "Thing", "name", models.CharField(max_length=10, db_comment="what it's called")
            ),
            migrations.AlterModelTableComment("Thing", "things"),
        )
        with connection.cursor() as cursor:
            definition = connection.introspection.table_definition(cursor, "doris_steps_thing")
        assert (definition.comment, definition.column("name").comment) == ("things", "what it's called")

    def test_changes_that_are_refused(self, run, thing):
        for operation, message in (
            (migrations.AlterField("Thing", "n", models.IntegerField(default=0)), "can be NULL"),
            (migrations.AlterField("Thing", "name", models.CharField(max_length=10, unique=True)), "unique"),
            (
                migrations.AlterField("Thing", "name", models.CharField(max_length=10, db_default="x")),
                "default",
            ),
            (migrations.AlterField("Thing", "id", models.IntegerField(primary_key=True)), "key"),
            (migrations.RenameField("Thing", "id", "key"), "key"),
            (migrations.RemoveField("Thing", "id"), "key"),
            (migrations.AlterUniqueTogether("Thing", {("name", "n")}), "unique_together"),
            (
                migrations.AddConstraint("Thing", models.UniqueConstraint(fields=["name"], name="u")),
                "unique constraints",
            ),
            (migrations.AddIndex("Thing", models.Index(fields=["name", "n"], name="i")), "one column"),
        ):
            with pytest.raises(NotSupportedError, match=message):
                run(operation)

    def test_changes_that_are_not_of_the_table(self, run, thing):
        run(
            migrations.AlterField("Thing", "name", models.CharField(max_length=10, choices=[("a", "A")])),
            migrations.AlterField("Thing", "n", models.IntegerField(null=True, db_index=True)),
            migrations.AddConstraint("Thing", models.CheckConstraint(condition=models.Q(n__gt=0), name="c")),
            migrations.AlterModelOptions("Thing", {"ordering": ["n"]}),
        )

    def test_indexes(self, run, thing, connection):
        run(migrations.AddIndex("Thing", models.Index(fields=["name"], name="by_name")))
        with connection.cursor() as cursor:
            found = connection.introspection.get_constraints(cursor, "doris_steps_thing")
            assert found["by_name"]["columns"] == ["name"]
            run(migrations.RemoveIndex("Thing", "by_name"))
            assert "by_name" not in connection.introspection.get_constraints(cursor, "doris_steps_thing")

    def test_rename_and_delete_the_table(self, run, thing, connection):
        rows = run(migrations.RenameModel("Thing", "Item"))("Item")
        assert rows.get().name == "first"
        run(migrations.DeleteModel("Item"))
        assert "doris_steps_item" not in connection.introspection.table_names()

    def test_the_recorder_of_migrations(self, connection):
        executor = MigrationExecutor(connection)
        executor.recorder.record_applied("doris_steps", "0001_initial")
        executor.recorder.record_applied("doris_steps", "0002_next")
        executor.recorder.record_unapplied("doris_steps", "0001_initial")
        assert set(executor.recorder.applied_migrations()) == {("doris_steps", "0002_next")}
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE django_migrations")

    def test_sqlmigrate_runs_nothing(self, connection):
        editor = DatabaseSchemaEditor(connection, collect_sql=True)
        with editor:
            editor.create_model(Visit)
            editor.remove_field(Visit, Visit._meta.get_field("page"))
        assert editor.collected_sql[0].startswith("CREATE TABLE")
        assert editor.collected_sql[-1] == "ALTER TABLE `doris_tests_visit` DROP COLUMN `page`;"
        assert connection.introspection.table_names() == []


class TestJobs:
    """Schema changes that Doris runs in the background."""

    @pytest.fixture
    def editor(self, make_connection, monkeypatch):
        connection = make_connection("jobs", OPTIONS={"schema_change_timeout": 1})
        editor = DatabaseSchemaEditor(connection)
        states = []
        monkeypatch.setattr(editor, "execute", lambda sql, params=(): None)
        monkeypatch.setattr(editor, "_jobs", lambda table: states.pop(0) if len(states) > 1 else states[0])
        editor.states = states
        return editor

    def test_an_old_job_does_not_matter(self, editor):
        editor.states[:] = [{"1": {"State": "CANCELLED"}}, {"1": {"State": "CANCELLED"}}]
        editor._alter(Visit, "DROP COLUMN x")

    def test_a_new_one_is_waited_for(self, editor):
        editor.states[:] = [
            {},
            {"2": {"State": "PENDING"}},
            {"2": {"State": "RUNNING"}},
            {"2": {"State": "FINISHED"}},
        ]
        editor._alter(Visit, "DROP COLUMN x")
        assert len(editor.states) == 1

    def test_one_that_runs_already_is_waited_for_first(self, editor, monkeypatch):
        order = []
        monkeypatch.setattr(editor, "execute", lambda sql, params=(): order.append(len(editor.states)))
        editor.states[:] = [
            {"1": {"State": "RUNNING"}},
            {"1": {"State": "WAITING_TXN"}},
            {"1": {"State": "CANCELLED", "Msg": "of another"}},
            {"1": {"State": "CANCELLED"}, "2": {"State": "FINISHED"}},
        ]
        editor._alter(Visit, "DROP COLUMN x")
        assert order == [1], "sent when the other job was over"

    def test_one_that_runs_already_and_does_not_end(self, editor, monkeypatch):
        sent = []
        monkeypatch.setattr(editor, "execute", lambda sql, params=(): sent.append(sql))
        editor.states[:] = [{"1": {"JobId": "77", "State": "RUNNING", "Progress": "3/9"}}]
        with pytest.raises(OperationalError, match="job 77 RUNNING 3/9"):
            editor._alter(Visit, "DROP COLUMN x")
        assert not sent

    def test_one_that_is_cancelled(self, editor):
        editor.states[:] = [{}, {"2": {"State": "CANCELLED", "Msg": "disk is full"}}]
        with pytest.raises(Exception, match="disk is full"):
            editor._alter(Visit, "DROP COLUMN x")

    def test_one_that_takes_too_long(self, editor):
        editor.states[:] = [{}, {"2": {"State": "RUNNING"}}]
        with pytest.raises(OperationalError, match="schema_change_timeout"):
            editor._alter(Visit, "DROP COLUMN x")


class TestIntrospection:
    def test_a_table(self, connection, table):
        table(Everything)
        with connection.cursor() as cursor:
            described = connection.introspection.get_table_description(cursor, "doris_tests_everything")
            types = {c.name: connection.introspection.get_field_type(c.type_code, c) for c in described}
            constraints = connection.introspection.get_constraints(cursor, "doris_tests_everything")
        assert types == {
            "id": "BigIntegerField",
            "flag": "BooleanField",
            "maybe": "BooleanField",
            "name": "CharField",
            "unlimited": "TextField",
            "text": "TextField",
            "slug": "CharField",
            "small": "SmallIntegerField",
            "number": "IntegerField",
            "big": "BigIntegerField",
            "positive": "BigIntegerField",
            "real": "FloatField",
            "price": "DecimalField",
            "day": "DateField",
            "at": "DateTimeField",
            "clock": "CharField",
            "lasted": "BigIntegerField",
            "key": "CharField",
            "address": "CharField",
            "document": "JSONField",
        }
        by_name = {c.name: c for c in described}
        assert by_name["name"].internal_size == 20
        assert (by_name["price"].precision, by_name["price"].scale) == (38, 9)
        assert by_name["maybe"].null_ok
        assert not by_name["flag"].null_ok
        assert constraints["PRIMARY"]["columns"] == ["id"]
        assert constraints["PRIMARY"]["primary_key"]

    def test_keys(self, connection, table):
        table(Event, Reading)
        with connection.cursor() as cursor:
            introspection = connection.introspection
            assert introspection.get_primary_key_columns(cursor, "doris_tests_reading") == ["sensor", "at"]
            assert introspection.get_primary_key_columns(cursor, "doris_tests_event") is None
            assert introspection.get_relations(cursor, "doris_tests_event") == {}
            assert introspection.get_constraints(cursor, "doris_tests_event")["DUPLICATE_KEY"]["columns"] == [
                "name",
                "id",
            ]
        assert [t.name for t in introspection.get_table_list(connection.cursor())] == [
            "doris_tests_event",
            "doris_tests_reading",
        ]

    def test_inspectdb(self, connection, table):
        from dbint.django.backends.doris.inspectdb import Command

        table(Event, Reading)
        out = io.StringIO()
        call_command(Command(), database=ALIAS, stdout=out)
        text = out.getvalue()
        compile(text, "models.py", "exec")
        assert "from dbint.django.backends import doris" in text
        assert "key_model='DUPLICATE', key=('name', 'id'), distributed_by='RANDOM', buckets=2" in text
        assert "CompositePrimaryKey('sensor', 'at')" in text


class TestChecks:
    def ids(self, connection, model) -> list[str]:
        return [message.id for message in checks.check_model(model, connection)]

    def test_good_models(self, connection):
        for model in (Everything, Visit, Event, Daily, Reading, Note):
            assert self.ids(connection, model) == [], model

    @pytest.mark.parametrize(
        ("expected", "meta", "fields"),
        [
            ("dbint.doris.E003", {"doris": DorisTable(key=("nowhere",))}, {}),
            ("dbint.doris.E003", {"doris": DorisTable(distributed_by=("nowhere",))}, {}),
            ("dbint.doris.E003", {"doris": DorisTable(sequence_column="nowhere")}, {}),
            ("dbint.doris.E003", {"doris": "UNIQUE"}, {}),
            ("dbint.doris.E005", {"doris": DorisTable(key=("t", "id"))}, {"t": models.TextField()}),
            ("dbint.doris.E006", {"doris": DorisTable(distributed_by=("a",))}, {"a": number()}),
            ("dbint.doris.E007", {"doris": DorisTable(key=("a",))}, {"a": number()}),
            ("dbint.doris.E008", {}, {"a": models.IntegerField(unique=True)}),
            ("dbint.doris.E009", {"indexes": [models.Index(fields=["a", "id"], name="i")]}, {"a": number()}),
            ("dbint.doris.W001", {}, {"a": models.ForeignKey(Visit, models.CASCADE, related_name="+")}),
        ],
    )
    def test_bad_models(self, connection, expected, meta, fields):
        fields = {"id": models.BigAutoField(primary_key=True), **{n: f.clone() for n, f in fields.items()}}
        assert expected in self.ids(connection, make("Bad", meta, **fields))

    def test_models_made_for_other_databases(self, make_connection):
        connection = make_connection(OPTIONS={"lenient_models": True})
        model = make(
            "Lenient",
            {"indexes": [models.Index(fields=["a", "id"], name="i")]},
            id=models.BigAutoField(primary_key=True),
            a=models.IntegerField(unique=True),
        )
        assert self.ids(connection, model) == ["dbint.doris.W008", "dbint.doris.W009"]
        assert "INDEX" not in sql_of(connection, model)

    def test_fields(self, connection):
        wide = models.DecimalField(max_digits=50, decimal_places=2)
        data = models.BinaryField()
        make("Fields", id=models.BigAutoField(primary_key=True), wide=wide, data=data)
        assert [m.id for m in connection.validation.check_field(wide)] == ["dbint.doris.E001"]
        assert [m.id for m in connection.validation.check_field(data)] == ["dbint.doris.E002"]

    def test_options_that_changed_after_the_table_was_made(self, connection, table):
        table(Daily)
        assert self.ids(connection, Daily) == []
        changed = make(
            "Changed",
            {"db_table": "doris_tests_daily", "doris": DorisTable(key=("id",))},
            id=models.BigIntegerField(primary_key=True),
            value=models.IntegerField(),
            day=models.DateField(),
        )
        messages = checks.check_model(changed, connection)
        assert [m.id for m in messages] == ["dbint.doris.E011"]
        assert "['id'] in the model and ['day', 'id'] in the table" in messages[0].msg

    def test_they_run_with_djangos(self, connection):
        found = checks.check_doris_models(databases=[ALIAS])
        assert [m for m in found if m.id.startswith("dbint.doris.E")] == []
        assert checks.check_doris_models(databases=None) == []


class TestTestDatabases:
    def test_create_clone_flush_destroy(self, make_connection):
        connection = make_connection("testing", NAME=None)
        connection.settings_dict["NAME"] = "agent_of_tests"
        connection.settings_dict["TEST"]["MIGRATE"] = False
        creation = connection.creation
        name = creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
        try:
            assert name == "test_agent_of_tests"
            with connection.schema_editor() as editor:
                if Visit._meta.db_table not in connection.introspection.table_names():
                    editor.create_model(Visit)
            Visit.objects.using("testing").create(page="a")
            creation.clone_test_db("1", verbosity=0)
            call_command("flush", database="testing", interactive=False, verbosity=0)
            assert Visit.objects.using("testing").count() == 0
            clone = connections.create_connection("testing")
            clone.settings_dict = {**connection.settings_dict, "NAME": f"{name}_1"}
            with clone.cursor() as cursor:
                cursor.execute("SELECT COUNT(*) FROM doris_tests_visit")
                assert cursor.fetchone()[0] == 1
            clone.close()
            creation.destroy_test_db(suffix="1", verbosity=0)
        finally:
            creation.destroy_test_db("agent_of_tests", verbosity=0)
        with connection._nodb_cursor() as cursor:
            cursor.execute("SHOW DATABASES")
            assert not [row for row in cursor.fetchall() if row[0].startswith("test_agent_of_tests")]
