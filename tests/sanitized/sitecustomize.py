"""Read at the start of ``tests/sanitized/python``: of what it starts only the Pythons are sanitized, too, and
no server or compiler. Ends it when the extension at hand is not the sanitized one.
"""

import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

HERE = Path(__file__).parent

del os.environ["LD_PRELOAD"]
sys.executable = str(HERE / "python")

package = PathFinder.find_spec("dbint")
if package is None or not str(package.origin).startswith(str(HERE.parents[1] / "build" / "sanitized")):
    sys.exit("the sanitized extension is missing: make sanitize-python")
