"""The C core knows nothing of Python, prints nothing, ends nothing; and its harness sees what fails."""

import shutil
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"


def make(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("make")
    assert program, "make is needed: apt-get install make"
    command = [program, "-s", "-C", str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def objects() -> list[str]:
    """The core's object files, as they are now."""
    run = make(CSRC, "purity")
    assert run.returncode == 0, run.stdout + run.stderr
    sources = sorted((CSRC / "core").rglob("*.c"))
    assert f"purity: {len(sources)} objects of the core, no symbol of Python" in run.stdout
    built = CSRC.parent / "build/csrc/plain"
    return [str(built / source.relative_to(CSRC).with_suffix(".o")) for source in sources]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of csrc, to break."""
    (tmp_path / "csrc" / "tests").mkdir(parents=True)
    (tmp_path / "csrc" / "core").mkdir()
    shutil.copy(CSRC / "Makefile", tmp_path / "csrc")
    shutil.copy(CSRC / "tests" / "test.h", tmp_path / "csrc" / "tests")
    return tmp_path / "csrc"


@pytest.mark.usefixtures("objects")
def test_the_core_does_not_use_python() -> None:
    for source in (CSRC / "core").rglob("*.[ch]"):
        assert "Python.h" not in source.read_text(encoding="utf-8"), source


def test_the_core_does_not_print_or_end_the_process(objects: list[str]) -> None:
    program = shutil.which("nm")
    assert program
    run = subprocess.run([program, "-A", "-u", *objects], check=True, capture_output=True, text=True)
    used = {line.split()[-1] for line in run.stdout.splitlines()}
    assert "malloc" in used  # else nothing was looked at
    assert not used & {"printf", "puts", "putchar", "perror", "stdout", "stderr", "exit", "_exit", "abort"}


def test_only_alloc_allocates(objects: list[str]) -> None:
    program = shutil.which("nm")
    assert program
    for path in map(Path, objects):
        run = subprocess.run([program, "-u", path], check=True, capture_output=True, text=True)
        used = {line.split()[-1] for line in run.stdout.splitlines()}
        taken = used & {"malloc", "calloc", "realloc", "strdup", "strndup", "asprintf"}
        assert path.stem == "alloc" or not taken, f"{path.stem}.c takes memory around alloc.h: {taken}"


def test_a_symbol_of_python_is_found(copied: Path) -> None:
    (copied / "core" / "impure.c").write_text(
        "void *PyErr_NoMemory(void);\nvoid *impure(void);\nvoid *impure(void) { return PyErr_NoMemory(); }\n",
        encoding="utf-8",
    )
    run = make(copied, "purity")
    assert run.returncode != 0
    assert "the core must not use Python" in run.stderr


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("purity", "no objects of the core"),
        ("test", "nothing was tested: 0 programs"),
        ("sanitize", "nothing was tested: 0 programs"),
    ],
)
def test_looking_at_nothing_is_red(copied: Path, target: str, message: str) -> None:
    run = make(copied, target)
    assert run.returncode != 0
    assert message in run.stderr


# --- the harness itself: each way for a case to fail must be seen ---

CASES = """
#include "test.h"
TEST(good) { CHECK_INT(1 + 1, 2); }
TEST(wrong_number) { CHECK_INT(1 + 1, 3); }
TEST(wrong_text) { CHECK_STR("left", "right"); }
TEST(wrong_rc) { CHECK_RC(DBI_EFULL, DBI_OK); }
TEST(crash) { volatile int *nowhere = NULL; *nowhere = 1; }
TEST_WITH(stuck, .timeout_s = 1) { for (;;) pause(); }
TEST(leak) { CHECK(dbi_malloc(8) != NULL || test_injected()); }
TEST(ignores_no_memory) { char *text = dbi_strdup("text"); CHECK_STR(text, "text"); dbi_free(text); }
TEST_MAIN()
"""


@pytest.fixture
def harness(copied: Path) -> Path:
    for name in ("alloc.c", "alloc.h", "err.c", "err.h"):
        shutil.copy(CSRC / "core" / name, copied / "core")
    (copied / "tests" / "test_sample.c").write_text(CASES, encoding="utf-8")
    return copied


def test_the_harness_sees_each_failure(harness: Path) -> None:
    run = make(harness, "test")
    assert run.returncode != 0
    for message in (
        "1 + 1 is 2, expected 3",
        '"left" is "left", expected "right"',
        "DBI_EFULL gave DBI_EFULL, expected DBI_OK",
        "killed by signal 11",
        "no end within 1 s",
        "1 allocations not given back",
    ):
        assert message in run.stderr
    assert "test_sample: 2 passed, 6 failed" in run.stdout
    assert "FAILED (plain):" in run.stderr


def test_the_harness_fails_each_allocation(harness: Path) -> None:
    run = make(harness, "test-alloc", "T=ignores")
    assert run.returncode != 0
    assert '"(null)", expected "text" [allocation 1 failing]' in run.stderr


def test_a_selection_of_no_case_is_red(harness: Path) -> None:
    run = make(harness, "test", "T=good")
    assert run.returncode == 0
    assert "test_sample: 1 passed, 0 failed" in run.stdout
    run = make(harness, "test", "T=none_of_them")
    assert run.returncode != 0
    assert "nothing was tested: 1 programs, no case named none_of_them" in run.stderr
