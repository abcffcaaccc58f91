"""Servers that are published as Maven artifacts: a list of coordinates becomes a directory of jars."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.sax.saxutils import escape

from stack.errors import StackError
from stack.packages import Requirement, program
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
    if outcome.status != 0:
        text = re.sub(r"\x1b\[[0-9;]*m", "", outcome.text)
        # What comes after the reason is advice on Maven itself.
        reason = text.partition("To see the full stack trace")[0].splitlines()
        errors = [line.removeprefix("[ERROR]").strip() for line in reason if line.startswith("[ERROR]")]
        said = " ".join(errors).strip()[:800] or text.strip()[-800:]
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
    return Path(found) if _java_version(found) >= _OLDEST_JAVA else None


@cache
def _java_version(program: str) -> int:
    """Such as 17; 0 where the program does not run or does not say."""
    try:
        said = run([program, "-version"]).text
    except StackError:  # JAVA_HOME leads nowhere
        return 0
    version = re.search(r'version "(\d+)', said)
    return int(version[1]) if version else 0


JAVA = Requirement(
    f"Java {_OLDEST_JAVA} or newer (java of JAVA_HOME, else on PATH)",
    ("default-jre-headless",),
    lambda: java() is not None,
)
MAVEN = program("mvn", "maven")
