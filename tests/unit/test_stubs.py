"""dbint/_core.pyi says what the extension module has: mypy's stubtest compares the two."""

import ast
import subprocess
import sys
from pathlib import Path

from dbint import _core

STUB = Path(_core.__file__).with_name("_core.pyi")


def test_the_stub_agrees_with_the_module(tmp_path: Path) -> None:
    """Together with a stub that does not agree, which must be all that is found."""
    (tmp_path / "sample.py").write_text("def there(one): ...\n", encoding="utf-8")
    (tmp_path / "sample.pyi").write_text("def there(two: int) -> None: ...\n", encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "--concise", "dbint._core", "sample"],
        capture_output=True,
        text=True,
        cwd=STUB.parents[1],
        env={"PATH": "/usr/bin:/bin", "MYPYPATH": str(tmp_path), "PYTHONPATH": str(tmp_path)},
        check=False,
    )
    found = run.stdout.splitlines()
    assert len(found) == 1, run.stdout + run.stderr
    assert found[0].startswith("sample.there is inconsistent")
    assert run.returncode == 1


def test_the_stub_covers_the_module() -> None:
    """Stubtest on a module without a stub, or an empty one, would compare nothing."""
    declared = {
        node.name
        for node in ast.parse(STUB.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
    }
    public = {name for name in vars(_core) if not name.startswith("_")}
    assert {"CircuitBreaker", "metrics_snapshot"} <= public <= declared
