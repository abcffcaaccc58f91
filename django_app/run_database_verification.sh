#!/bin/sh
# Runs run_database_verification.py with the checkout's environment when there is one, else with $PYTHON or python3.
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 2
python=${PYTHON:-python3}
[ -x "$here/../.venv/bin/python" ] && python=$here/../.venv/bin/python
exec "$python" "$here/run_database_verification.py" "$@"
