"""docs/quickstart.md, run as it stands: from the wheel, in a fresh project, without compiler or checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stack import Stack

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOOLS = ("sh", "bash", "env", "uname", "ldconfig", "cat", "dirname", "basename")


@pytest.fixture(scope="session")
def wheel() -> Path:
    """The repaired wheel in wheelhouse/, built by `make wheel`."""
    built = subprocess.run(["make", "wheel"], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout[-4000:] + built.stderr[-4000:]
    (found,) = (ROOT / "wheelhouse").glob("dbint-*.whl")
    return found


def test_the_wheel_carries_its_libraries(wheel: Path) -> None:
    listing = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", str(wheel)], check=True, capture_output=True, text=True
    ).stdout
    assert re.search(r"dbint\.libs/libpq-", listing)
    assert re.search(r"dbint\.libs/librdkafka-", listing)
    assert "manylinux" in wheel.name
    for unwanted in ("csrc/", "tests/", "bench/", "django_app/"):
        assert unwanted not in listing


def test_every_command_of_the_page_works(wheel: Path, private_stack: Stack, tmp_path: Path) -> None:
    private_stack.up()
    blocks = BLOCK.findall((ROOT / "docs/quickstart.md").read_text())
    assert [kind for kind, _ in blocks] == ["bash", "python", "python", "bash"]
    (_, create), (_, settings), (_, models), (_, prove) = blocks

    tools = tmp_path / "bin"  # a PATH without compiler, pg_config or pkg-config
    tools.mkdir()
    (tools / "python").symlink_to(Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}"))
    for name in TOOLS:
        found = next(
            (p for d in ("/usr/bin", "/bin", "/sbin", "/usr/sbin") if (p := Path(d, name)).exists()), None
        )
        assert found, f"{name} is not on this machine"
        (tools / name).symlink_to(found)
    kept = {
        key: value for key, value in os.environ.items() if key.startswith(("PIP_", "SSL_", "LANG", "TMP"))
    }
    environment = kept | {
        "PATH": str(tools),
        "HOME": str(tmp_path),
        "DBINT_STACK_DIR": str(private_stack.directory),
        "PIP_FIND_LINKS": f"{wheel.parent} {kept.get('PIP_FIND_LINKS', '')}".strip(),
        "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
    }  # fmt: skip

    def run(script: str, folder: Path) -> str:
        done = subprocess.run(
            ["bash", "-euc", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{script}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    run(create, tmp_path)
    with (tmp_path / "shop/shop/settings.py").open("a") as file:
        file.write("\n" + settings)
    (tmp_path / "shop/analytics/models.py").write_text(models)
    activate = ". ../venv/bin/activate\n"
    printed = run(activate + prove, tmp_path / "shop")
    assert "System check identified no issues" in printed
    assert "Applying auth.0001_initial" in printed
    assert "Applying analytics.0001_initial" in printed
    assert re.search(r"passed +models\.doris", printed)
    assert re.search(r"\b0 failed", printed)

    extension = run(
        activate + "python -c 'import dbint._core; print(dbint._core.__file__)'", tmp_path / "shop"
    )
    assert Path(extension.strip()).is_relative_to(tmp_path / "venv")
