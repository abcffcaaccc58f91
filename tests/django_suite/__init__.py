"""Django's own tests against the Doris backend: ``python -m tests.django_suite``.

They come with Django's source distribution, which is fetched into the cache (never committed). What Doris
cannot do is listed in ``refused.toml`` with the page that says so, and is expected to fail: a listed test
that passes is an error, as is a failure that is not listed.
"""
