"""Single values as OpenMetrics 1.0 text, for a scrape of a file: what a command has found, say.

https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
"""

from collections.abc import Iterable

from dbint.metrics import Histogram, Metric
from dbint.metrics.catalogue import help_text


def as_openmetrics(metrics: Iterable[Metric]) -> str:
    """Gauges and counters. Raises TypeError for a histogram: prometheus.py exports those."""
    families: dict[str, list[Metric]] = {}
    for metric in metrics:
        families.setdefault(metric.name, []).append(metric)
    lines = []
    for name in sorted(families):
        kind = families[name][0].kind
        family = name.removesuffix("_total") if kind == "counter" else name
        lines += [f"# TYPE {family} {kind}", f"# HELP {family} {_escaped(help_text(name))}"]
        for metric in families[name]:
            if isinstance(metric.value, Histogram):
                raise TypeError(f"{name} is a histogram")
            labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in metric.labels.items())
            value = int(metric.value) if metric.value == int(metric.value) else metric.value
            lines.append(f"{name}{{{labels}}} {value}")
    return "\n".join([*lines, "# EOF"])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
