"""The status of a running flow in one line, for a terminal and a log."""

from collections.abc import Mapping
from typing import Any


def status_line(status: Mapping[str, Any]) -> str:
    """What :meth:`dbint.flow.runner.Runner.status` says, for people."""
    parts = [f"flow {status['flow']}"]
    for name, tell in (("capture", _capture), ("sink", _sink)):
        if (found := status.get(name)) is not None:
            parts.append(f"{name}: {_failure(found) or tell(found)}")
    return " | ".join(parts)


def _failure(found: Mapping[str, Any]) -> str:
    if (failure := found.get("failure")) is None:
        return ""
    again = "" if failure["retry_in"] is None else f", tried again in {failure['retry_in']:.1f} s"
    return f"failed ({failure['failures']}{again}): {failure['text']}"


def _capture(found: Mapping[str, Any]) -> str:
    if loads := found.get("first_load"):
        done = sum(load["state"] == "done" for load in loads)
        text = f"first load, {done} of {len(loads)} tables"
        for load in loads:
            if load["state"] == "running":
                text += f"; {load['table']}: {load['rows']} rows"
                if load["share"] is not None:
                    text += f" ({load['share']:.0%})"
                if load["eta_s"] is not None:
                    text += f", about {load['eta_s']:.0f} s left"
        return text
    if "state" not in found:
        return "starting"
    text = str(found["state"])
    if found.get("error"):
        text += f" ({found['error']})"
    if found.get("lag_bytes") is not None:
        text += f", {found['lag_bytes']} bytes behind"
    if found.get("lag_seconds") is not None:
        text += f", {found['lag_seconds']:.1f} s"
    return text


def _sink(found: Mapping[str, Any]) -> str:
    if "rows" not in found:
        return "starting"
    text = f"{found['rows']} rows loaded"
    if found["lag_rows"] is not None:
        text += f", {found['lag_rows']} waiting"
    if found["freshness_p50"] is not None:
        text += f", fresh within {found['freshness_p50']:.2f} s (p99 {found['freshness_p99']:.2f} s)"
    if found["dead_letters"]:
        text += f", {found['dead_letters']} dead letters"
    if found["trouble"]:
        text += f" ({found['trouble']})"
    return text
