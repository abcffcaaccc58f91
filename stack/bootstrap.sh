#!/bin/sh
# bootstrap.sh SET… - make sure that the distribution packages of these sets are there ("build", "light", "faults", "test", "full").
# Python itself may be missing on a bare machine; everything after it is the business of `python3 -m stack prerequisites`.
set -eu
cd "$(dirname "$0")/.."

if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 >/dev/null
    fi
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
        echo "dbint needs Python 3.11 or newer as python3; install it with your system's package manager" >&2
        exit 1
    }
fi
exec python3 -m stack prerequisites --install "$@"
