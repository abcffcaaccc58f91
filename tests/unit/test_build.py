"""Building from source: what an archive holds, and what is said when a header is missing."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def setup(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "setup.py", "--quiet", *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


def test_a_source_archive_holds_all_of_the_extension(tmp_path: Path) -> None:
    done = setup("egg_info", "--egg-base", str(tmp_path), "sdist", "--dist-dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    sources = {
        str(path.relative_to(ROOT))
        for room in ("core", "binding")
        for path in ROOT.glob(f"csrc/{room}/*.[ch]")
    }
    assert len(sources) > 20
    assert sources <= names
    assert {
        "setup.py",
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "dbint/_core.pyi",
        "dbint/py.typed",
    } <= names


@pytest.mark.parametrize(
    ("tool", "package"), [("pg_config", "libpq-dev"), ("pkg-config", "librdkafka-dev pkg-config")]
)
def test_a_missing_header_names_its_package(tool: str, package: str, tmp_path: Path) -> None:
    (tmp_path / tool).write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / tool).chmod(0o755)
    done = setup("build_ext", "--build-lib", str(tmp_path / "lib"), PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert f"apt-get install {package}\n" in done.stderr
    assert "Traceback" not in done.stderr
