"""Settings of agent_runtime, the project that uses all of dbint.

Everything that differs between machines comes from the environment, from dbint's discovery or from its
credential providers; docs/settings.md names the variables.
"""

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key

from dbint.discovery import is_running_in_kubernetes
from dbint.django.conf import DbintDict

from .database_config_doris import DORIS
from .database_config_flow import FLOWS
from .database_config_kafka import KAFKA
from .database_config_postgres import POSTGRES
from .vault import VaultNotConfiguredError, database_secrets

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = os.environ.get("DJANGO_DEBUG") == "1"
ALLOWED_HOSTS = os.environ.get("DJANGO_ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]").split(",")

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "")
if not SECRET_KEY:
    if is_running_in_kubernetes():
        raise ImproperlyConfigured("DJANGO_SECRET_KEY is unset: the pods of a deployment need the same key")
    # Good for one process: sessions end with it.
    SECRET_KEY = get_random_secret_key()

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "dbint.django",
    "dbint.django.observability",
    "apps.python_agent",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "agent_api.urls"
WSGI_APPLICATION = "agent_api.wsgi.application"
ASGI_APPLICATION = "agent_api.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Vault first. Only its absence leads on to the configuration of database_config: any other failure is shown.
try:
    DATABASES = database_secrets.configure_django_databases()
except VaultNotConfiguredError:
    from .database_config import DATABASES as DATABASES

DATABASE_ROUTERS = [
    # Before the agents' router: the facts are models of the same app, and live in Doris.
    "dbint.django.routers.DatabaseRouter",
    "agent_api.database_routers.AgentDatabaseRouter",
]

DBINT: DbintDict = {
    "SERVICES": {"postgres": POSTGRES},
    "KAFKA": KAFKA,
    "DORIS": DORIS,
    "FLOWS": FLOWS,
}

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
