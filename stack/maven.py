"""Servers that are published as Maven artifacts: a list of coordinates becomes a directory of jars."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from stack.errors import StackError
from stack.packages import Requirement
from stack.process import run

_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
_TIMEOUT = 900.0
_OLDEST_JAVA = 17


@dataclass(frozen=True)
class Artifact:
    """Coordinates ``group:artifact:version``, and the dependencies ("group:artifact") that are left out."""

    coordinates: str
    exclude: tuple[str, ...] = ()


def project(artifacts: Sequence[Artifact]) -> str:
    """A Maven project that depends on the artifacts and builds nothing."""

    def element(tag: str, *content: str) -> str:
        return f"<{tag}>{''.join(content)}</{tag}>"

    def names(*words: str) -> str:
        tags = ("groupId", "artifactId", "version")
        return "".join(element(tag, escape(word)) for tag, word in zip(tags, words, strict=False))

    def dependency(artifact: Artifact) -> str:
        left_out = "".join(element("exclusion", names(*name.split(":"))) for name in artifact.exclude)
        return element("dependency", names(*artifact.coordinates.split(":")), element("exclusions", left_out))

    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0">\n<modelVersion>4.0.0</modelVersion>\n'
        + names("dbint.stack", "server", "1")
        + "<packaging>pom</packaging>\n"
        + element("dependencies", *(dependency(artifact) + "\n" for artifact in artifacts))
        + "</project>\n"
    )


def fetch(artifacts: Sequence[Artifact], directory: Path) -> None:
    """Puts the artifacts and all that they need at run time into ``directory``.

    Raises StackError with Maven's own words when that fails.
    """
    pom = directory / "pom.xml"
    pom.write_text(project(artifacts))
    maven = shutil.which("mvn")
    if maven is None:
        raise StackError("mvn is not on PATH")
    try:
        outcome = run(
            [
                maven,
                "--batch-mode",
                "--quiet",
                "--strict-checksums",
                f"--file={pom}",
                f"{_PLUGIN}:copy-dependencies",
                f"-DoutputDirectory={directory}",
                "-DincludeScope=runtime",
            ],
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(f"Maven did not finish within {_TIMEOUT:.0f} s") from error
    if outcome.returncode != 0:
        words = [
            line.removeprefix("[ERROR]").strip() for line in outcome.stdout.splitlines() if "[ERROR]" in line
        ]
        said = " ".join(words)[:800] or outcome.stdout[-800:].strip()
        raise StackError(
            f"Maven could not fetch {artifacts[0].coordinates}: {said}\n"
            "Is the network there? A proxy or a mirror is set in ~/.m2/settings.xml"
        )


def java() -> Path | None:
    """The ``java`` of JAVA_HOME or PATH, if it is new enough."""
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if not found:
        return None
    try:
        text = run([found, "-version"], timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r'version "(\d+)', text)
    return Path(found) if version and int(version[1]) >= _OLDEST_JAVA else None


def classpath(directory: Path) -> str:
    return f"{directory}/*"


JAVA = Requirement(
    f"Java {_OLDEST_JAVA} or newer (java of JAVA_HOME or on PATH)", ("default-jre-headless",), java
)
MAVEN = Requirement(
    "Maven (mvn on PATH)",
    ("maven",),
    lambda: Path(found) if (found := shutil.which("mvn")) else None,
)
