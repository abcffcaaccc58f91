"""``python -m tests.django.doris.corpus add FILE…``: take what logs show and the corpus does not.

``… missing FILE…`` prints it, ``… list`` prints the corpus; as JSON, one statement a line, for a parser.
"""

import argparse
import json
import sys
from pathlib import Path

from tests.django.doris.corpus import Corpus, add, read_log, statements


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.django.doris.corpus", description=__doc__)
    parser.add_argument("command", choices=["add", "missing", "list"])
    parser.add_argument("logs", nargs="*", type=Path, metavar="FILE", help="what --log-statements wrote")
    options = parser.parse_args()
    if options.command == "list":
        found = statements()
    else:
        found = [sql for path in options.logs for sql in read_log(path)]
    if options.command == "add":
        for name in add(found):
            sys.stdout.write(f"{name}: name the page of Doris' documentation in its first line\n")
        return 0
    corpus = Corpus()
    for sql in sorted(set(found), key=lambda s: (len(s), s)):
        if options.command == "list" or corpus.missing(sql):
            corpus.learn(sql)
            sys.stdout.write(json.dumps(sql, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
