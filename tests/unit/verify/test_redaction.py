"""No secret leaves the process, in whatever spelling and place."""

import base64
import json
from urllib.parse import quote

import pytest

from dbint.verify.redaction import MASK, Redactor, find_secrets, is_secret_name

SECRET = "p&ss'w\"ö\\rd/1"


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        quote(SECRET, safe=""),
        json.dumps(SECRET),
        repr(SECRET),
        f"http://me:{quote(SECRET, safe='')}@host/x",
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"me:{SECRET}".encode()).decode(),
    ],
)
def test_a_known_secret_is_masked_in_every_spelling(text: str) -> None:
    shown = Redactor([SECRET], ["me"])(f"before {text} after")
    assert MASK in shown
    assert "w" not in shown.removeprefix("before ").removesuffix(" after").replace("http://me", "")
    assert shown.startswith("before ")
    assert shown.endswith(" after")


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("postgresql://me:s3cretword@db/x", "s3cretword"),
        ("host=db password=s3cretword dbname=x", "s3cretword"),
        ("host=db password='s3 cret\\'word' dbname=x", "cret"),
        ('{"password": "s3cretword"}', "s3cretword"),
        ("ALTER USER me PASSWORD 's3cretword'", "s3cretword"),
        ("sasl.password=s3cretword", "s3cretword"),
        ("Authorization: Basic bWU6czNjcmV0d29yZA==", "bWU6"),
        ("Authorization: Bearer abcdefghijklmnop", "abcdefgh"),
        ("VAULT_TOKEN=hvs.abcdef", "hvs"),
        ("secret_key: s3cretword", "s3cretword"),
    ],
)
def test_a_secret_nobody_knows_is_masked_where_it_stands(text: str, gone: str) -> None:
    shown = Redactor()(text)
    assert gone not in shown
    assert MASK in shown


@pytest.mark.parametrize(
    "text",
    [
        'password authentication failed for user "dbint"',
        "no password supplied",
        "127.0.0.1:5432: connection refused",
        "environment variable POSTGRES_PASSWORD",
        "correct POSTGRES_USER, POSTGRES_PASSWORD, or USER and PASSWORD in DATABASES",
        "the token bucket is empty",
    ],
)
def test_harmless_text_stays(text: str) -> None:
    assert Redactor()(text) == text


def test_the_longer_secret_is_masked_whole() -> None:
    assert Redactor(["abcd", "abcdefgh"])("x abcdefgh y") == f"x {MASK} y"


def test_nested_values_keep_their_shape_and_become_json() -> None:
    value = {
        "password": "x",
        "n": 1,
        "deep": [{"text": f"see {SECRET}"}, None, float("inf"), {1}],
        "who": object,
    }
    shown = Redactor([SECRET]).deep(value)
    json.dumps(shown, allow_nan=False)
    assert shown["password"] == MASK
    assert shown["n"] == 1
    assert SECRET not in json.dumps(shown, ensure_ascii=False)
    assert shown["deep"][1] is None


def test_secrets_are_found_in_settings_and_urls() -> None:
    settings = {
        "SECRET_KEY": "key-of-the-site",
        "DATABASES": {"default": {"PASSWORD": "pw1-long", "OPTIONS": {"passfile": "/etc/pgpass"}}},
        "CACHES": {"default": {"LOCATION": "redis://:pw2-long@cache/0"}},
        "AUTH_PASSWORD_VALIDATORS": [{"NAME": "django.contrib.auth.Validator"}],
        "PASSWORD_RESET_TIMEOUT": 3600,
        "POSTGRES_PASSWORD_FILE": "/run/secrets/pg",
        "BROKEN": "http://[::1:x@y",
    }
    assert set(find_secrets(settings)) == {"key-of-the-site", "pw1-long", "pw2-long"}


@pytest.mark.parametrize(
    "name", ["PASSWORD", "db_passwd", "SECRET_KEY", "VAULT_TOKEN", "RAGFLOW_API_KEY", "sasl.jaas.config"]
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["USER", "credentials_from", "PASSWORD_HASHERS", "token_count", "POSTGRES_PASSWORD_FILE"]
)
def test_names_that_are_none(name: str) -> None:
    assert not is_secret_name(name)
