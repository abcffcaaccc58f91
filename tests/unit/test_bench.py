"""The frame of the benches: turns, ratios, aims, refusals; and that each bench is wired to its aims."""

import io
import itertools
import json
import subprocess
import sys
import threading
import time
import tomllib
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench import compiler, frame, report
from bench.benches import BENCHES
from bench.frame import Aim, BenchError, Contender, Ratio, Sample
from bench.measure import Stopwatch

CHECKOUT = Path(__file__).resolve().parents[2]


class Pretended:
    """A bench whose samples are written down: contender -> figures of its rounds."""

    name = "pretended"
    title = "a bench for the test"
    units = {"value": "calls/s", "cpu": "ns", "memory": "MiB"}
    contenders = (Contender("a", "the first"), Contender("b", "the second"), Contender("c", "the third"))
    ratios = (Ratio("a_over_b", "value", "a", "b"), Ratio("c_alone", "cpu", "c"))
    rounds = 3
    quick_rounds = 1

    def __init__(self, values=None, versions=None):
        self.values = values or {"a": [10, 30, 90], "b": [10, 10, 10], "c": [1, 2, 4]}
        self.versions = versions or {}
        self.order = []

    @contextmanager
    def prepare(self, *, quick):
        source = {name: itertools.cycle(values) for name, values in self.values.items()}

        def run(contender):
            self.order.append(contender)
            value = next(source[contender])
            figures = {"value": value, "cpu": value, "memory": 7.0}
            return Sample(figures, {"lib": self.versions.get(contender, "1.0")})

        yield run


@pytest.fixture
def aims(tmp_path, monkeypatch):
    """A function that writes aims.toml."""

    def write(text):
        path = tmp_path / "aims.toml"
        path.write_text(text, encoding="utf-8")
        monkeypatch.setattr(frame.load_aims, "__defaults__", (path,))

    write("")
    return write


def run(bench, **options):
    return frame.run(bench, progress=lambda _line: None, **options)


def test_contenders_take_turns(aims):
    bench = Pretended()
    run(bench, rounds=4)
    assert "".join(bench.order) == "abcbcacababc"


def test_a_ratio_is_taken_in_each_round_and_then_the_median(aims):
    bench = Pretended({"a": [10, 30, 90], "b": [1, 10, 9], "c": [1, 2, 4]})
    result = run(bench)
    assert result["ratios"] == {"a_over_b": 10.0, "c_alone": 2}  # of 10, 3, 10; not 30 / 9


def test_the_result_has_what_readers_rely_on(aims):
    aims("[pretended.a_over_b]\nat_least = 2\n[pretended.c_alone]\nat_most = 1\n")
    result = json.loads(json.dumps(run(Pretended())))
    assert set(result) == {"name", "title", "quick", "rounds", "machine", "results", "ratios", "aims"}
    assert {"cpu_count", "load", "cpu_model", "kernel", "python", "versions"} <= set(result["machine"])
    assert set(result["machine"]["load"]) == {"before", "after"}
    assert result["machine"]["versions"]["lib"] == "1.0"
    assert result["results"]["a"] == {
        "title": "the first",
        "unit": "calls/s",
        "median": 30,
        "spread": {"min": 10, "max": 90, "iqr": 40.0},
        "cpu": {"unit": "ns", "median": 30, "spread": {"min": 10, "max": 90, "iqr": 40.0}},
        "memory": {"unit": "MiB", "median": 7.0, "spread": {"min": 7.0, "max": 7.0, "iqr": 0.0}},
    }
    assert result["aims"] == {
        "a_over_b": {"aim": "at least 2", "value": 3.0, "met": True},
        "c_alone": {"aim": "at most 1", "value": 2, "met": False},
    }


def test_different_libraries_are_no_comparison(aims):
    with pytest.raises(BenchError, match=r"not comparable: a ran on lib 1\.0, b on 2\.0"):
        run(Pretended(versions={"b": "2.0"}))


def test_nothing_measured_is_no_ratio(aims):
    with pytest.raises(BenchError, match="a_over_b: round 1 measured nothing"):
        run(Pretended({"a": [1], "b": [0], "c": [1]}))


@pytest.mark.parametrize("entry", ["", "at_most = 1\nat_least = 1"])
def test_an_aim_has_one_bound(aims, entry):
    aims(f"[pretended.a_over_b]\n{entry}\n")
    with pytest.raises(BenchError, match=r"\[pretended.a_over_b\] needs one of at_most and at_least"):
        run(Pretended())


def test_an_aim_for_an_unknown_ratio_is_an_error(aims):
    aims("[pretended.no_such_ratio]\nat_most = 1\n")
    with pytest.raises(BenchError, match="no_such_ratio"):
        run(Pretended())


def test_a_bound_itself_is_met():
    assert Aim("r", at_most=True, bound=1.25).met(1.25)
    assert Aim("r", at_most=False, bound=0.8).met(0.8)
    assert not Aim("r", at_most=True, bound=1.25).met(1.2501)


def test_every_aim_is_about_a_ratio_that_exists_and_every_bench_has_aims():
    table = tomllib.loads(frame.AIMS.read_text(encoding="utf-8"))
    assert set(table) == set(BENCHES)
    for name, bench in BENCHES.items():
        found = {aim.ratio for aim in frame.load_aims(name)}
        assert found
        assert found <= {ratio.name for ratio in bench.ratios}


def test_ratios_compare_contenders_that_exist():
    for bench in BENCHES.values():
        names = {contender.name for contender in bench.contenders}
        for ratio in bench.ratios:
            assert {ratio.of, ratio.to or ratio.of} <= names
        assert len({ratio.name for ratio in bench.ratios}) == len(bench.ratios)


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        ("import sys; sys.exit('out of luck')", r"exit status 1\nout of luck"),
        ("print('no json')", "printed no result, but 'no json"),
        ("", "printed no result, but ''"),
        ("print('[1]')", "printed no result"),
        ("import time; time.sleep(60)", r"no result after 0\.5 s"),
    ],
)
def test_a_contender_that_fails_is_an_error(program, complaint):
    with pytest.raises(BenchError, match=complaint):
        frame.run_contender([sys.executable, "-c", program], timeout=0.5 if "sleep" in program else 30)


def test_a_contender_may_say_other_things_first():
    found = frame.run_contender([sys.executable, "-c", "print('hello'); print('{\"count\": 1}')"], timeout=30)
    assert found == {"count": 1}


def test_the_stopwatch_counts_the_cpu_of_every_thread():
    def spin():
        end = time.thread_time() + 0.1
        while time.thread_time() < end:
            pass

    with Stopwatch() as watch:
        threads = [threading.Thread(target=spin) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert 0.2 <= watch.cpu_seconds < 5
    assert watch.seconds >= 0.1


def test_peak_memory_is_this_process_own_peak():
    # In a process of its own: this one may have held more before.
    script = (
        "from bench.measure import peak_rss; before = peak_rss(); bytearray(b'x') * (64 << 20); "
        "print(f'{{\"grown\": {peak_rss() - before}}}')"
    )
    held = bytearray(b"x") * (256 << 20)  # what forks it must not count
    found = frame.run_contender([sys.executable, "-c", script], timeout=30)
    del held
    assert 32 << 20 < found["grown"] < 128 << 20


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DBINT_CACHE_DIR", str(tmp_path / "cache"))


def test_a_program_is_built_once_for_each_state_of_its_sources(tmp_path, cache):
    source, header = tmp_path / "answer.c", tmp_path / "answer.h"
    source.write_text('#include "answer.h"\nint main(void) { return ANSWER; }\n', encoding="ascii")
    header.write_text("#define ANSWER 3\n", encoding="ascii")
    first = compiler.build([source])
    stamp = first.stat().st_mtime_ns
    assert subprocess.run([first], check=False).returncode == 3
    assert compiler.build([source]) == first
    assert first.stat().st_mtime_ns == stamp
    header.write_text("#define ANSWER 4\n", encoding="ascii")
    second = compiler.build([source])
    assert second != first
    assert subprocess.run([second], check=False).returncode == 4
    assert {path.name for path in first.parent.iterdir()} == {first.name, second.name}


def test_a_program_that_does_not_compile_says_why(tmp_path, cache):
    source = tmp_path / "wrong.c"
    source.write_text("int main(void) { return nonsense; }\n", encoding="ascii")
    with pytest.raises(BenchError, match=r"(?s)wrong.c does not compile:\n.*nonsense"):
        compiler.build([source])
    assert list((tmp_path / "cache" / "bench").iterdir()) == []


def test_missing_tools_are_named(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="apt-get install gcc"):
        compiler.build([tmp_path / "any.c"])
    with pytest.raises(BenchError, match="apt-get install pkg-config"):
        compiler.pkg_config("rdkafka")


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_a_picture_is_drawn(tmp_path, aims, suffix, magic):
    path = tmp_path / f"bench{suffix}"
    report.picture(run(Pretended()), path)
    assert path.read_bytes().startswith(magic)


def test_the_table_shows_figures_and_verdicts(aims):
    from rich.console import Console

    aims("[pretended.a_over_b]\nat_least = 2\n[pretended.c_alone]\nat_most = 1\n")
    console = Console(width=100, file=io.StringIO())
    report.table(run(Pretended()), console)
    text = console.file.getvalue()
    for words in ("medians of 3 rounds", "calls/s", "10-90", "a_over_b", "at least 2", "not met", "lib 1.0"):
        assert words in text


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments], capture_output=True, text=True, cwd=CHECKOUT, check=False
    )


def test_the_list_shows_benches_contenders_and_aims():
    done = bench("--list")
    assert done.returncode == 0
    for words in ("produce", "breaker", "AIOProducer", "aim: enqueue_cpu_over_c at most 1.25"):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give one NAME, or --all, or --list"),
        (["no-such-bench"], "invalid choice"),
        (["breaker", "--rounds", "0"], "--rounds must be at least 1"),
        (["breaker", "--all"], "give one NAME, or --all, or --list"),
        (["breaker", "--plot", "picture.txt"], "a file name that ends in .png, .svg, .pdf"),
        (["--all", "--plot", "picture.png"], "--plot needs one NAME"),
    ],
)
def test_a_wrong_argument_is_one_clear_line(arguments, complaint):
    done = bench(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert complaint in done.stderr.strip().splitlines()[-1]


def test_the_breaker_bench_runs(tmp_path):
    done = bench("breaker", "--quick", "--json", "--plot", str(tmp_path / "breaker.png"))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert set(result["results"]) == {contender.name for contender in BENCHES["breaker"].contenders}
    assert set(result["aims"]) == {aim.ratio for aim in frame.load_aims("breaker")}
    assert (tmp_path / "breaker.png").exists()
