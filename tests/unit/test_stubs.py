"""dbint/_core.pyi says what the extension module has: mypy's stubtest compares the two."""

import ast
import subprocess
import sys
from pathlib import Path

from dbint import _core

STUB = Path(_core.__file__).with_name("_core.pyi")


def stubtest(module: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"MYPYPATH": str(path), "PYTHONPATH": str(path)} if path else {}
    return subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", module],
        capture_output=True,
        text=True,
        cwd=path or STUB.parents[1],
        env={"PATH": "/usr/bin:/bin", **environment},
        check=False,
    )


def test_the_stub_agrees_with_the_module() -> None:
    run = stubtest("dbint._core")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "no issues found in 1 module" in run.stdout


def test_the_stub_covers_the_module() -> None:
    """Stubtest on a module without a stub, or an empty one, would compare nothing."""
    declared = {
        node.name
        for node in ast.parse(STUB.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
    }
    public = {name for name in vars(_core) if not name.startswith("_")}
    assert {"CircuitBreaker", "metrics_snapshot"} <= public <= declared


def test_stubtest_sees_a_difference(tmp_path: Path) -> None:
    (tmp_path / "sample.py").write_text("def there(one): ...\n", encoding="utf-8")
    (tmp_path / "sample.pyi").write_text("def there(two: int) -> None: ...\n", encoding="utf-8")
    run = stubtest("sample", tmp_path)
    assert run.returncode == 1
    assert "sample.there is inconsistent" in run.stdout
