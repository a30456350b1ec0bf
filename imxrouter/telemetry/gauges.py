"""A gauge with the values that are read at a scrape."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.core import GaugeMetricFamily, Metric

from imxrouter.telemetry.catalogue import Family


def gauge(family: Family, values: Mapping[tuple[str, ...], float]) -> Metric:
    """Make one, of values by their labels."""
    metric = GaugeMetricFamily(family.name, family.help, labels=family.labels)
    for labels, value in values.items():
        metric.add_metric(labels, value)
    return metric
