"""The run's latest values at Ray's Prometheus endpoint (one on every node, see `ray.nodes()`)."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import ray
from ray.util.metrics import Gauge

from metagenrl.runs.rows import MetricsRow, ObjectiveRow
from metagenrl.runs.run_records import SystemRow
from metagenrl.tracking.keys import find_key, prometheus_metric
from metagenrl.tracking.values import ValueTable

INTERVAL = 5.0
"""Seconds between two updates; Ray itself collects every 10."""

logger = logging.getLogger(__name__)


class PrometheusExport:
    """Sets gauges in the driver's process, from where Ray collects them."""

    def __init__(self, run: str, agents: int) -> None:
        """`run` is the label that tells runs apart."""
        self._run = run.encode("ascii", "backslashreplace").decode()  # as Ray wants labels
        self._table = ValueTable(agents)
        self._gauges: dict[str, Gauge] = {}
        self._rows: list[MetricsRow] = []
        self._latest: dict[type, MetricsRow] = {}
        self._due = 0.0
        logger.info("Prometheus metrics: %s", ", ".join(endpoints()))

    def take(self, rows: Sequence[MetricsRow]) -> None:
        """Note rows, and every few seconds export what is newest."""
        for row in rows:
            if isinstance(row, ObjectiveRow | SystemRow):
                self._latest[type(row)] = row  # there is one a round: only the last is of use
            else:
                self._rows.append(row)
        now = time.monotonic()
        if now >= self._due:
            self._due = now + INTERVAL
            self.export()

    def export(self) -> None:
        """Set the gauges now."""
        values = self._table.values([*self._rows, *self._latest.values()])
        self._rows.clear()
        self._latest.clear()
        for name, value in values.items():
            metric, labels = prometheus_metric(name)
            if metric not in self._gauges:
                self._gauges[metric] = Gauge(
                    metric, description=find_key(name)[0].meaning, tag_keys=("run", *labels)
                )
            self._gauges[metric].set(value, tags={"run": self._run} | labels)


def endpoints() -> list[str]:
    """Addresses to scrape, one for each node of the cluster."""
    return [
        f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        for node in ray.nodes()
        if node["Alive"]
    ]
