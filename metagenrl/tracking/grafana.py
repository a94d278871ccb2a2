"""The Grafana dashboard of `docs/grafana.json`, which this module prints.

It shows what `prometheus.py` exports, by run; import it in Grafana and choose the data source.
"""

from __future__ import annotations

import json
from typing import Any

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH, _HEIGHT, _COLUMNS = 8, 8, 3

# (title, unit, [(metric without "ray_metagenrl_", legend)])
PANELS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Population: interquartile mean and quartiles",
        "short",
        tuple(
            (f"population_return_{name}", f"{{{{env}}}} {name}") for name in ("iqm", "q25", "q75")
        ),
    ),
    ("Return per agent", "short", (("agent_return", "{{agent}}"),)),
    ("Held-out return", "short", (("heldout_return", "{{env}}"),)),
    ("Norm of the mean meta-gradient", "short", (("meta_gradient_norm", "{{run}}"),)),
    ("Agreement of meta-gradients (cosine)", "short", (("meta_cosine", "{{env}}"),)),
    ("Norm of the objective", "short", (("objective_norm", "{{run}}"),)),
    (
        "Gradients",
        "short",
        tuple((f"meta_{name}", name) for name in ("accepted", "rejected", "stale", "duplicate")),
    ),
    ("Staleness (versions)", "short", (("server_lag", "mean"), ("server_lag_max", "furthest"))),
    (
        "Restarts and learning agents",
        "short",
        (("population_restarts", "restarts"), ("population_learning", "learning")),
    ),
    ("Agent-steps per second", "short", (("system_agent_steps_per_s", "{{run}}"),)),
    ("Memory", "bytes", (("system_rss", "all processes"), ("system_rss_driver", "driver"))),
    (
        "Best version and held-out tests waiting",
        "short",
        (("heldout_best_version", "best version"), ("heldout_waiting", "waiting")),
    ),
)


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "title": "MetaGenRL population",
        "uid": "metagenrl-population",
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "tags": ["metagenrl"],
        "templating": {"list": [_datasource(), _run()]},
        "panels": [_panel(index, *panel) for index, panel in enumerate(PANELS)],
    }


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
    }


def _run() -> dict[str, Any]:
    query = "label_values(ray_metagenrl_objective_version, run)"
    return {
        "name": "run",
        "label": "Run",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": "run"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
    }


def _panel(
    index: int, title: str, unit: str, queries: tuple[tuple[str, str], ...]
) -> dict[str, Any]:
    row, column = divmod(index, _COLUMNS)
    return {
        "id": index + 1,
        "type": "timeseries",
        "title": title,
        "datasource": _SOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _SOURCE,
                "expr": f'ray_metagenrl_{metric}{{run=~"$run"}}',
                "legendFormat": legend,
            }
            for number, (metric, legend) in enumerate(queries)
        ],
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=2))
