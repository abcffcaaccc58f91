"""A Django project of one view, as gunicorn serves it: ``gunicorn bench.contenders.overhead:application``.

The view hands over twenty events, in the way that the variable ``BENCH_EVENTS`` names, then reads twenty rows
of a table through the ORM and renders them. ``python -m bench.contenders.overhead`` makes the tables.
"""

import os
from collections.abc import Callable
from typing import Any

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

EVENTS = 20
ROWS = 20
TEMPLATE = """<!doctype html><title>Rights</title><table>
{% for right in rights %}<tr><td>{{ right.name }}<td>{{ right.codename|upper }}<td>{{ right.content_type }}
{% endfor %}</table>"""

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": os.environ["POSTGRES_HOST"],
            "PORT": os.environ["POSTGRES_PORT"],
            "NAME": os.environ["POSTGRES_DB"],
            "USER": os.environ["POSTGRES_USER"],
            "PASSWORD": os.environ["POSTGRES_PASSWORD"],
            "CONN_MAX_AGE": None,
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "dbint.django",
        "dbint.django.observability",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY="no secret: nothing is signed here",  # noqa: S106
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {"loaders": [("django.template.loaders.locmem.Loader", {"rights.html": TEMPLATE})]},
        }
    ],
    USE_TZ=True,
)
django.setup()


def event(number: int) -> dict[str, Any]:
    """The seed's six fields."""
    return {
        "trace_id": "coord_123",
        "event_type": "AGENT_STEP",
        "level": "INFO",
        "message": f"Agent execution step {number}",
        "agent_name": "agent-debug-intelligence",
        "task_id": "task_456",
    }


def nothing() -> None:
    """A request without events."""


def by_dbint() -> None:
    """Each event by itself, into the layer of the process."""
    from dbint.events import get_database_layer

    write = get_database_layer().write_trace_event_sync
    for number in range(EVENTS):
        write(**event(number))


def by_insert() -> None:
    """All events of the request in one INSERT, through the ORM."""
    from dbint.django.observability.models import TraceEvent

    TraceEvent.objects.bulk_create(TraceEvent(**event(number)) for number in range(EVENTS))


HOW: dict[str, Callable[[], None]] = {"none": nothing, "dbint": by_dbint, "insert": by_insert}
hand_over = HOW[os.environ.get("BENCH_EVENTS", "none")]


def view(request: HttpRequest) -> HttpResponse:
    """Twenty events, twenty rows, one page."""
    from django.contrib.auth.models import Permission
    from django.shortcuts import render

    hand_over()
    rights = Permission.objects.select_related("content_type").order_by("pk")[:ROWS]
    return render(request, "rights.html", {"rights": rights})


urlpatterns = [path("", view)]
application = get_wsgi_application()


if __name__ == "__main__":
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
