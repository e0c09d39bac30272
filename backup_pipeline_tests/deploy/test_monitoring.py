"""Prometheus' rules and Grafana's dashboard ask for series that are served, by labels that they have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

import pytest
import yaml

from backup_pipeline.core.statistics import metrics_of
from backup_pipeline.settings import PROJECT
from backup_pipeline_tests.core.test_statistics_metrics import NEW, OLD, known_states

FOLDER = PROJECT / "deploy" / "monitoring"
FUNCTIONS = frozenset(
    ["min", "sum", "absent", "increase", "time", "topk", "avg_over_time", "max_over_time", "label_values", "by", "and"]
)


def served() -> Mapping[str, frozenset[str]]:
    """The labels of each series, by the name under which it is served."""
    metrics = metrics_of(known_states(OLD, NEW))
    return {
        f"{metric.name}_total" if metric.kind == "counter" else metric.name: frozenset(metric.labels)
        for metric in metrics
    }


def rules() -> list[dict[str, object]]:
    [group] = yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"]
    found: list[dict[str, object]] = group["rules"]
    return found


def expressions() -> Iterator[str]:
    yield from (str(rule["expr"]) for rule in rules())
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (variable["definition"] for variable in dashboard["templating"]["list"] if "definition" in variable)


@pytest.mark.parametrize("expression", list(expressions()))
def test_each_expression_asks_for_what_is_served(expression: str) -> None:
    plain = re.sub(r'"[^"]*"', '""', expression)
    labels = set(re.findall(r"(\w+)=~?\"\"", plain))
    for inside in re.findall(r"by \(([^)]*)\)", plain):
        labels |= {label.strip() for label in inside.split(",")}
    outside = re.sub(r"\{[^}]*\}|\[[^\]]*\]|by \([^)]*\)|, catalog(?=\))", " ", plain)
    names = {word for word in re.findall(r"[a-z_]{3,}", outside) if word not in FUNCTIONS}
    assert names, expression
    assert names <= served().keys()
    for name in names:
        assert labels <= served()[name] | {"catalog"}, (name, labels)
    assert outside.count("(") == outside.count(")")


def test_each_rule_says_what_is_wrong_and_what_to_do_of_labels_that_it_has() -> None:
    names = [str(rule["alert"]) for rule in rules()]
    assert len(set(names)) == len(names) >= 6
    for rule in rules():
        notes = rule["annotations"]
        assert isinstance(notes, dict)
        assert {"summary", "what_to_do"} == notes.keys()
        used = set(re.findall(r"\$labels\.(\w+)", " ".join(notes.values())))
        name = next(name for name in re.findall(r"backup_\w+", str(rule["expr"])))
        assert used <= served()[name], rule["alert"]


def test_every_series_stands_in_the_dashboard() -> None:
    shown = " ".join(expressions())
    besides = {"backup_rows", "backup_restore_duration_seconds", "backup_last_success_timestamp_seconds"}
    assert {name for name in served() if name not in shown} <= besides
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in dashboard["panels"])
