"""The report in OpenMetrics 1.0 text, for a scrape of a file or a push gateway.

https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
"""

from collections.abc import Iterable, Iterator, Mapping

from dbint.verify.latency import QUANTILES
from dbint.verify.result import Report, Result, Status


def as_openmetrics(report: Report) -> str:
    return "\n".join([*_lines(report), "# EOF"]) + "\n"


def _lines(report: Report) -> Iterator[str]:
    results = report.results
    yield from _family(
        "dbint_probe_status",
        "stateset",
        "How a probe ended.",
        (
            (_labels(result) | {"dbint_probe_status": status.value}, int(result.status is status))
            for result in results
            for status in Status
        ),
    )
    yield from _family(
        "dbint_probe_duration_seconds",
        "gauge",
        "How long a probe took.",
        ((_labels(result), round(result.duration, 6)) for result in results),
        unit="seconds",
    )
    yield from _family(
        "dbint_server",
        "info",
        "The servers that answered.",
        (
            ({"server": server, "version": version, "emulated": str(emulated).lower()}, 1)
            for server, version, emulated in dict.fromkeys(
                (result.server, result.version, result.emulated) for result in results if result.version
            )
        ),
        suffix="_info",
    )
    yield from _family(
        "dbint_operation_latency_seconds",
        "gauge",
        "Measured latency of an operation.",
        _latencies(results),
        unit="seconds",
    )
    yield from _family(
        "dbint_throughput_messages_per_second",
        "gauge",
        "Measured throughput of the producer.",
        (
            (_labels(result), result.details["messages_per_s"])
            for result in results
            if "messages_per_s" in result.details
        ),
    )
    yield from _family(
        "dbint_verification_exit_code",
        "gauge",
        "0: nothing failed, 1: something failed, 2: nothing was verified.",
        [({}, report.exit_code)],
    )
    yield from _family(
        "dbint_verification_duration_seconds",
        "gauge",
        "How long the verification took.",
        [({}, round(report.duration, 6))],
        unit="seconds",
    )
    yield from _family(
        "dbint_verification_start_timestamp_seconds",
        "gauge",
        "When the verification began.",
        [({}, round(report.started_at.timestamp(), 3))],
        unit="seconds",
    )


def _latencies(results: Iterable[Result]) -> Iterator[tuple[dict[str, str], float]]:
    for result in results:
        for operation, values in result.details.get("latency", {}).items():
            for name, fraction in QUANTILES.items():
                labels = _labels(result) | {"operation": operation, "quantile": f"{fraction:g}"}
                yield labels, round(values[name] / 1000, 9)


def _labels(result: Result) -> dict[str, str]:
    return {
        "probe": result.name,
        "group": result.group,
        "server": result.server,
        "alias": result.alias or "",
    }


def _family(
    name: str,
    kind: str,
    description: str,
    samples: Iterable[tuple[Mapping[str, str], float]],
    *,
    unit: str = "",
    suffix: str = "",
) -> Iterator[str]:
    yield f"# TYPE {name} {kind}"
    if unit:
        yield f"# UNIT {name} {unit}"
    yield f"# HELP {name} {description}"
    for labels, value in samples:
        pairs = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
        yield f"{name}{suffix}{{{pairs}}} {value}" if pairs else f"{name}{suffix} {value}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
