"""The parts of the stack that need no server."""

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stack import Stack, StackError, compose, maven, packages, probe
from stack.cache import cache_path, cached
from stack.compose import ComposeStack
from stack.packages import Requirement
from stack.process import Process, run, spawn
from stack.progress import LineProgress, Progress, TerminalProgress
from stack.servers import SERVERS, doris, kafka
from stack.state import Entry, State, free_port, port_is_free, write_private


@pytest.fixture
def cache_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DBINT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Builder:
    """Writes two files, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0
        self.during: threading.Event | None = None

    def __call__(self, directory: Path) -> None:
        self.calls += 1
        if self.during:
            self.during.wait(5)
        (directory / "lib").mkdir()
        (directory / "lib" / "a.jar").write_bytes(b"a" * 1000)
        (directory / "b.jar").write_bytes(b"b")

    def get(self, recipe: str = "1") -> Path:
        cached("thing", "1.0", recipe, self, Progress())
        return cache_path("thing", "1.0")


class TestCache:
    def test_is_built_once(self, cache_directory: Path) -> None:
        builder = Builder()
        assert builder.get() == builder.get() == cache_directory / "thing-1.0"
        assert builder.calls == 1

    @pytest.mark.parametrize("damage", ["changed", "truncated", "removed", "added", "no manifest", "no JSON"])
    def test_what_is_damaged_is_built_again(self, cache_directory: Path, damage: str) -> None:
        builder = Builder()
        found = builder.get()
        jar = found / "lib" / "a.jar"
        match damage:
            case "changed":
                jar.write_bytes(b"a" * 999 + b"x")
            case "truncated":
                jar.write_bytes(b"a" * 10)
            case "removed":
                jar.unlink()
            case "added":
                (found / "c.jar").write_bytes(b"c")
            case "no manifest":
                (found / "manifest.json").unlink()
            case "no JSON":
                (found / "manifest.json").write_text("{")
        builder.get()
        assert builder.calls == 2
        assert jar.read_bytes() == b"a" * 1000
        assert not (found / "c.jar").exists()
        builder.get()
        assert builder.calls == 2
        assert {path.name for path in cache_directory.iterdir()} == {"thing-1.0", ".thing-1.0.lock"}

    def test_another_recipe_builds_again(self, cache_directory: Path) -> None:
        builder = Builder()
        builder.get("1")
        builder.get("2")
        assert builder.calls == 2

    def test_a_failed_build_leaves_nothing(self, cache_directory: Path) -> None:
        def build(directory: Path) -> None:
            (directory / "half").write_text("half")
            raise StackError("the network is away")

        with pytest.raises(StackError, match="network is away"):
            cached("thing", "1.0", "1", build, Progress())
        assert [path.name for path in cache_directory.iterdir()] == [".thing-1.0.lock"]

    def test_a_killed_build_is_swept(self, cache_directory: Path) -> None:
        leftover = cache_directory / ".thing-1.0.build-killed"
        leftover.mkdir(parents=True)
        (leftover / "half").write_text("half")
        Builder().get()
        assert not leftover.exists()

    def test_two_at_once_build_once(self, cache_directory: Path) -> None:
        builder = Builder()
        builder.during = threading.Event()
        threads = [threading.Thread(target=builder.get) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        builder.during.set()
        for thread in threads:
            thread.join(10)
        assert builder.calls == 1

    def test_a_cache_that_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("DBINT_CACHE_DIR", str(tmp_path / "file"))
        with pytest.raises(StackError, match="DBINT_CACHE_DIR chooses another directory"):
            Builder().get()


class TestProcess:
    def test_lives_and_dies(self, tmp_path: Path) -> None:
        process = spawn(["sleep", "60"], log=tmp_path / "log", cwd=tmp_path, environment=os.environ)
        assert process.alive()
        assert Process.of(process.pid) == process
        assert os.getsid(process.pid) == process.pid, "a session of its own"
        assert process.uptime() is not None
        assert (process.memory() or 0) > 0
        assert not process.wait(0.05)
        assert process.send(signal.SIGKILL)
        assert process.wait(5)
        assert not process.alive()
        assert not process.send(signal.SIGKILL)
        assert Process.of(process.pid) is None, "reaped"

    def test_another_birth_is_another_process(self, tmp_path: Path) -> None:
        process = spawn(["sleep", "60"], log=tmp_path / "log", cwd=tmp_path, environment=os.environ)
        boot, _, ticks = process.born.partition(":")
        for born in (f"{boot}:{int(ticks) + 1}", f"another-boot:{ticks}"):
            stranger = Process(process.pid, born)
            assert not stranger.alive()
            assert not stranger.send(signal.SIGKILL)
            assert stranger.wait(0)
            assert stranger.uptime() is None
        assert process.alive()
        process.send(signal.SIGKILL)
        process.wait(5)

    def test_descendants(self, tmp_path: Path) -> None:
        process = spawn(
            ["sh", "-c", "sh -c 'sleep 61 & wait' & wait"],
            log=tmp_path / "log",
            cwd=tmp_path,
            environment=os.environ,
        )
        deadline = time.monotonic() + 5
        while len(process.descendants()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        family = [process, *process.descendants()]
        for member in family:
            member.send(signal.SIGKILL)
        assert all(member.wait(5) for member in family)

    def test_a_program_that_hangs(self) -> None:
        with pytest.raises(StackError, match=r"^sleep did not end within 0 s"):
            run(["sleep", "60"], timeout=0.1)

    def test_a_program_that_is_not_there(self) -> None:
        with pytest.raises(StackError, match="cannot run /nonexistent/x: No such file"):
            run(["/nonexistent/x"])


class TestState:
    def test_survives_a_round_trip(self, tmp_path: Path) -> None:
        path = tmp_path / "state.json"
        entry = Entry(
            {"sql": 1234}, "15.8", credentials={"password": "secret"}, extra={"socket_directory": "/x"}
        )
        State("full", {"postgres": entry}).write(path)
        assert State.read(path) == State("full", {"postgres": entry})
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert "secret" not in repr(entry)
        assert [child.name for child in tmp_path.iterdir()] == ["state.json"]

    def test_no_file_is_an_empty_state(self, tmp_path: Path) -> None:
        assert State.read(tmp_path / "state.json") == State()

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "is damaged"),
            ("[]", "is damaged"),
            ('{"format": 1}', "is damaged"),
            ('{"format": 1, "profile": "light", "services": {"kafka": {"colour": "red"}}}', "is damaged"),
            ('{"format": 2}', "has format 2; this checkout understands format 1"),
        ],
    )
    def test_a_file_that_cannot_be_used(self, tmp_path: Path, text: str, said: str) -> None:
        path = tmp_path / "state.json"
        path.write_text(text)
        with pytest.raises(StackError, match=said) as caught:
            State.read(path)
        assert str(path) in str(caught.value)

    def test_a_write_that_fails_leaves_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "state.json"
        write_private(path, "old")

        def full(_handle: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StackError, match=r"cannot write .*state\.json: No space left on device"):
            write_private(path, "new")
        assert path.read_text() == "old"
        assert [child.name for child in tmp_path.iterdir()] == ["state.json"]

    def test_free_ports(self) -> None:
        taken: set[int] = set()
        for _ in range(20):
            taken.add(free_port(taken))
        assert len(taken) == 20
        with socket.socket() as listener:
            port = taken.pop()
            listener.bind(("127.0.0.1", port))
            listener.listen()
            assert not port_is_free(port)


class TestProbe:
    """What is not the server, or not ready, is told from what is."""

    @contextmanager
    def answering(self, answer: bytes) -> Iterator[int]:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()

            def serve() -> None:
                connection, _ = listener.accept()
                with connection:
                    if not answer.startswith(b"greets "):
                        connection.recv(4096)
                    connection.sendall(answer.removeprefix(b"greets "))

            thread = threading.Thread(target=serve)
            thread.start()
            yield listener.getsockname()[1]
            thread.join(5)

    def test_nobody_listens(self) -> None:
        with pytest.raises(probe.NotReadyError, match="Connection refused"):
            probe.postgres("127.0.0.1", free_port(()), "u", "d")

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "something else than PostgreSQL"),
            (b"E\0\0\0\x1fSFATAL\0M", "connection was closed"),
            (b"E\0\0\0\x23SFATAL\0C57P03\0Mis starting up\0\0", "is starting up"),
            (b"", "connection was closed"),
        ],
    )
    def test_postgres(self, answer: bytes, said: str) -> None:
        with self.answering(answer) as port, pytest.raises(probe.NotReadyError, match=said):
            probe.postgres("127.0.0.1", port, "u", "d")

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "something else than Kafka"),
            (b"\0\0\0\x08\0\0\0\x01\0\0\0\0", "no broker is registered"),
            (b"\0\0\0\x08\0\0\0\x02\0\0\0\x01", "something else than Kafka"),
        ],
    )
    def test_kafka(self, answer: bytes, said: str) -> None:
        with self.answering(answer) as port, pytest.raises(probe.NotReadyError, match=said):
            probe.kafka("127.0.0.1", port)

    def test_mysql(self) -> None:
        with (
            self.answering(b"greets SSH-2.0-x\r\n") as port,
            pytest.raises(probe.NotReadyError, match="something"),
        ):
            probe.mysql("127.0.0.1", port)
        with self.answering(b"greets \x07\0\0\0\x0a5.7.99") as port:
            probe.mysql("127.0.0.1", port)

    def test_http(self) -> None:
        with (
            self.answering(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n") as port,
            pytest.raises(probe.NotReadyError, match="answered with status 503"),
        ):
            probe.http_get("127.0.0.1", port, "/")


class TestPackages:
    absent = Requirement("a flying pig", ("pig", "wings"), lambda: False)

    def test_what_is_missing_is_named_with_the_remedy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
        with pytest.raises(StackError) as caught:
            packages.ensure([self.absent], Progress(), install=False)
        assert "missing: a flying pig" in str(caught.value)
        assert "apt-get install --no-install-recommends pig wings" in str(caught.value)

    def test_elsewhere_than_debian(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shutil.which", lambda _: None)
        with pytest.raises(StackError, match="install what your distribution calls: pig wings"):
            packages.ensure([self.absent], Progress())

    def test_nothing_is_missing(self) -> None:
        packages.ensure([Requirement("this file", (), Path(__file__).exists)], Progress(), install=False)

    def test_installing_starts_and_creates_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While apt-get runs, services are forbidden and so is the cluster "main"; later nothing is left."""
        policy = tmp_path / "policy-rc.d"
        clusters = tmp_path / "postgresql-common" / "createcluster.d"
        monkeypatch.setattr(packages, "_POLICY", policy)
        monkeypatch.setattr(packages, "_CREATECLUSTER", clusters)
        seen = []

        def apt(arguments: list[str], environment: dict[str, str]) -> None:
            if arguments[0] == "install":
                seen.append(subprocess.run([policy], check=False).returncode)
                seen.append((clusters / "zz-dbint-stack.conf").read_text())
                seen.append(environment["DEBIAN_FRONTEND"])

        monkeypatch.setattr(packages, "_apt", apt)
        packages.apt_install(["pig"], Progress())
        assert seen == [101, "create_main_cluster = false\n", "noninteractive"]
        assert list(tmp_path.iterdir()) == []

    def test_the_administrators_policy_stays(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        policy = tmp_path / "policy-rc.d"
        policy.write_text("theirs")
        monkeypatch.setattr(packages, "_POLICY", policy)
        monkeypatch.setattr(packages, "_CREATECLUSTER", tmp_path / "createcluster.d")
        monkeypatch.setattr(packages, "_apt", lambda *_: None)
        packages.apt_install(["pig"], Progress())
        assert policy.read_text() == "theirs"


class TestMaven:
    artifacts = (maven.Artifact("org.example:thing_2.13:1.0", exclude=("org.example:ballast",)),)

    def test_the_project_names_what_is_wanted(self) -> None:
        text = maven.project(self.artifacts)
        wanted = "<groupId>org.example</groupId><artifactId>thing_2.13</artifactId><version>1.0</version>"
        assert wanted in text
        assert "<exclusion><groupId>org.example</groupId><artifactId>ballast</artifactId></exclusion>" in text

    def test_mavens_own_words(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program = tmp_path / "mvn"
        program.write_text("#!/bin/sh\necho '[INFO] trying'\necho '[ERROR] Could not find thing'\nexit 1\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        with pytest.raises(
            StackError, match=r"could not fetch org\.example:thing_2\.13:1\.0: Could not find thing"
        ):
            maven.fetch(self.artifacts, tmp_path)


class TestCompose:
    def fake_docker(self, directory: Path, script: str) -> None:
        docker = directory / "docker"
        docker.write_text(f"#!/bin/sh\n{script}\n")
        docker.chmod(0o755)

    @pytest.mark.parametrize(
        ("script", "said"),
        [
            (None, "there is no docker on PATH"),
            ("exit 1", "the docker here has no compose plugin"),
            ('[ "$1" = compose ]', "no container engine answers"),
        ],
    )
    def test_without_an_engine(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, said: str
    ) -> None:
        if script:
            self.fake_docker(tmp_path, script)
        monkeypatch.setenv("PATH", str(tmp_path))
        stack = ComposeStack(tmp_path / "stack")
        with pytest.raises(StackError, match=said):
            stack.up()
        assert not stack.directory.exists()

    def test_the_file_pins_every_version(self) -> None:
        for services in compose.SERVICES.values():
            for service in services:
                assert compose._version(service)
        assert compose._version("kafka") == kafka.VERSION
        assert compose._version("doris-fe") == compose._version("doris-be") == doris.VERSION

    def test_what_docker_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Addresses and passwords go through the environment; the state file says "compose"."""
        self.fake_docker(tmp_path, f'echo "$*" >>{tmp_path}/said; env >>{tmp_path}/environment')
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        stack = ComposeStack(tmp_path / "stack")
        for server in SERVERS.values():
            monkeypatch.setattr(server, "probe", lambda _: None)
        stack.up(["postgres", "kafka"])
        entry = stack.entry("postgres")
        assert stack.state().engine == "compose"
        assert (entry.version, entry.emulated, entry.pid) == (compose._version("postgres"), False, None)
        said = (tmp_path / "said").read_text()
        assert "up --detach postgres kafka\n" in said
        assert entry.credentials["password"] not in said
        environment = (tmp_path / "environment").read_text()
        assert f"POSTGRES_PASSWORD={entry.credentials['password']}\n" in environment
        assert f"KAFKA_PORT={stack.endpoint('kafka').port}\n" in environment
        with pytest.raises(StackError, match="is run by compose; remove it first"):
            Stack(stack.directory).up(["postgres"])
        stack.kill("kafka")
        assert "kill kafka\n" in (tmp_path / "said").read_text()
        stack.down()
        assert "down --volumes" in (tmp_path / "said").read_text()
        assert not stack.directory.exists()


def test_progress_for_a_log_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    progress = LineProgress(sys.stdout)
    progress.step("kafka", "starting")
    progress.done("kafka", "ready")
    progress.close()
    said = capsys.readouterr().out
    assert [line.partition("s  ")[2] for line in said.splitlines()] == ["kafka: starting …", "kafka: ready"]
    assert "\x1b" not in said


def test_progress_for_a_terminal_leaves_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    progress = TerminalProgress(sys.stdout)
    progress.step("kafka", "starting")
    progress.step("postgres", "starting")
    progress.done("postgres", "ready")
    progress.close()
    said = capsys.readouterr().out
    assert "\x1b[Kpostgres: ready\nkafka: starting 0 s" in said
    assert said.endswith("\r\x1b[K"), "the line is cleared at the end"
