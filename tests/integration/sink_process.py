"""A sink in a process of its own, which a test may kill: ``python -m tests.integration.sink_process CONFIG``.

CONFIG is JSON, the arguments of ``sink_messages.flow_config``. Each line of its output is JSON: what the sink
says of itself, and ``rss``, the most anonymous memory that the process has taken so far, in bytes.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dbint.flow.sink import Sink
from tests.integration.sink_messages import flow_config, flow_mapping

CHECKOUT = Path(__file__).resolve().parents[2]
LOOK = 0.02  # seconds between two looks at the memory
TOLD = 10  # looks for each line


def anonymous_memory() -> int:
    """RssAnon of this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("/proc/self/status has no RssAnon")


@contextmanager
def sink_process(**config: Any) -> Iterator["subprocess.Popen[str]"]:
    """The process; it is killed at the end, at the latest."""
    command = [sys.executable, "-m", "tests.integration.sink_process", json.dumps(config)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def main(given: str) -> None:
    arguments = json.loads(given)
    arguments |= {"sql": tuple(arguments["sql"]), "account": tuple(arguments["account"])}
    config = flow_config(**arguments)
    most = anonymous_memory()
    with Sink(config, [flow_mapping(config)]) as sink:
        thread = threading.Thread(target=sink.run)
        thread.start()
        while thread.is_alive():
            for _ in range(TOLD):
                thread.join(LOOK)
                most = max(most, anonymous_memory())
            sys.stdout.write(json.dumps({**sink.status(), "rss": most}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
