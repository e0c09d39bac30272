"""Metrics in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from backup_pipeline.core.metrics import Metric

_KINDS: Mapping[str, type[GaugeMetricFamily] | type[CounterMetricFamily]] = {
    "gauge": GaugeMetricFamily,
    "counter": CounterMetricFamily,
}


def prometheus_text(metrics: Sequence[Metric]) -> str:
    """The metrics as Prometheus reads them, with `# HELP` and `# TYPE`."""
    registry = CollectorRegistry()
    registry.register(_Ready(metrics))
    return generate_latest(registry).decode()


class _Ready(Collector):
    """Metrics whose values are known already."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        """One family a metric."""
        for metric in self._metrics:
            family = _KINDS[metric.kind](metric.name, metric.help, labels=metric.labels)
            for sample in metric.samples:
                family.add_metric([sample.labels[label] for label in metric.labels], sample.value)
            yield family
