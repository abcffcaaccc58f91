"""Models of the tests of the Doris backend."""

# ruff: noqa: DJ008 - never shown

import uuid

from django.db import models
from django.utils import timezone

from dbint.django.backends.doris import DorisTable, DynamicPartitions, RangePartitions


class Everything(models.Model):
    """A column of every type."""

    id = models.BigAutoField(primary_key=True)
    flag = models.BooleanField(default=False)
    maybe = models.BooleanField(null=True)
    name = models.CharField(max_length=20, default="")
    unlimited = models.CharField(default="")
    text = models.TextField(default="")
    slug = models.SlugField(default="")
    small = models.SmallIntegerField(default=0)
    number = models.IntegerField(default=0)
    big = models.BigIntegerField(default=0)
    positive = models.PositiveBigIntegerField(default=0)
    real = models.FloatField(default=0.0)
    price = models.DecimalField(max_digits=38, decimal_places=9, default=0)
    day = models.DateField(null=True)
    at = models.DateTimeField(null=True)
    clock = models.TimeField(null=True)
    lasted = models.DurationField(null=True)
    key = models.UUIDField(default=uuid.uuid4)
    address = models.GenericIPAddressField(null=True)
    document = models.JSONField(null=True)

    class Meta:
        app_label = "doris_tests"
        doris = DorisTable(buckets=1)


class Visit(models.Model):
    """A UNIQUE table without options."""

    id = models.BigAutoField(primary_key=True)
    page = models.CharField(max_length=50)
    count = models.IntegerField(default=1)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        app_label = "doris_tests"


class Event(models.Model):
    """A DUPLICATE table."""

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(max_length=50)
    value = models.IntegerField()

    class Meta:
        app_label = "doris_tests"
        doris = DorisTable(key_model="DUPLICATE", key=("name", "id"), distributed_by="RANDOM", buckets=2)


class Daily(models.Model):
    """A UNIQUE table whose key has more than the primary key."""

    id = models.BigIntegerField(primary_key=True)
    value = models.IntegerField()
    day = models.DateField()

    class Meta:
        app_label = "doris_tests"
        doris = DorisTable(key=("day", "id"), distributed_by=("id",), buckets=1)


class Reading(models.Model):
    """A composite primary key."""

    pk = models.CompositePrimaryKey("sensor", "at")
    value = models.FloatField()
    sensor = models.IntegerField()
    at = models.DateTimeField()

    class Meta:
        app_label = "doris_tests"
        doris = DorisTable(buckets=1)


class Note(models.Model):
    """A relation."""

    id = models.BigAutoField(primary_key=True)
    visit = models.ForeignKey(Visit, models.CASCADE, db_constraint=False, related_name="notes")
    text = models.CharField(max_length=100)

    class Meta:
        app_label = "doris_tests"
        doris = DorisTable(buckets=1)


class Defaulted(models.Model):
    """Columns with a default in the database."""

    id = models.AutoField(primary_key=True)
    number = models.IntegerField(db_default=7)
    word = models.CharField(max_length=10, db_default="it's")

    class Meta:
        app_label = "doris_tests"


class Subject(models.Model):
    """The other side of a many-to-many relation."""

    id = models.BigAutoField(primary_key=True)

    class Meta:
        app_label = "doris_tests"


class Topic(models.Model):
    """A many-to-many relation."""

    id = models.BigAutoField(primary_key=True)
    subjects = models.ManyToManyField(Subject, related_name="topics")

    class Meta:
        app_label = "doris_tests"


class DailyCost(models.Model):
    """An AGGREGATE table: rows of the same key are added up."""

    pk = models.CompositePrimaryKey("day", "agent")
    day = models.DateField()
    agent = models.CharField(max_length=20)
    tokens = models.BigIntegerField()
    slowest = models.FloatField(default=0.0)
    last = models.DateTimeField(null=True)

    class Meta:
        app_label = "doris_tests"
        doris = DorisTable(
            key_model="AGGREGATE",
            key=("day", "agent"),
            distributed_by=("agent",),
            buckets=1,
            aggregates={"tokens": "SUM", "slowest": "MAX", "last": "REPLACE_IF_NOT_NULL"},
        )


class Kept(models.Model):
    """Rows of the last thirty days, as docs/doris.md has it."""

    pk = models.CompositePrimaryKey("at", "id")
    at = models.DateTimeField()
    id = models.BigIntegerField()
    message = models.TextField()

    class Meta:
        app_label = "doris_tests"
        doris = DorisTable(
            key_model="DUPLICATE",
            distributed_by="RANDOM",
            partition_by=RangePartitions(
                "at",
                dynamic=DynamicPartitions("DAY", end=3, start=-30, create_history_partition=True),
            ),
        )
