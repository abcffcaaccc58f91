#!/bin/sh
# phase.sh TITLE COMMAND… - run one phase of a make target, say how long it took, and show its output only when it fails.
# With VERBOSE=1 the output is shown as it comes. Without colours or cursor movement, so that it reads the same in a log.
set -u
title=$1
shift
start=$(date +%s%N)
if [ -n "${VERBOSE:-}" ]; then
    echo "== $title"
    "$@"
    status=$?
else
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    "$@" >"$log" 2>&1
    status=$?
fi
took=$((($(date +%s%N) - start) / 100000000))
if [ $status = 0 ]; then
    printf '  %-44s %4d.%d s\n' "$title" $((took / 10)) $((took % 10))
else
    printf '  %-44s failed after %d.%d s (exit %d)\n' "$title" $((took / 10)) $((took % 10)) $status >&2
    [ -n "${VERBOSE:-}" ] || tail -n 40 "$log" >&2
fi
exit $status
