"""Reads a page of metrics by Prometheus' own parser and prints its samples as JSON: [family, type, name, labels, value]."""

import json
import sys

from prometheus_client.parser import text_string_to_metric_families

page = sys.stdin.read()
told = []
names = set()
for family in text_string_to_metric_families(page):
    assert family.name not in names, f"{family.name} is there twice"
    names.add(family.name)
    assert family.type != "unknown", f"{family.name} has no type"
    assert family.documentation, f"{family.name} has no help"
    seen = set()
    for sample in family.samples:
        key = (sample.name, tuple(sorted(sample.labels.items())))
        assert key not in seen, f"{key} is there twice"
        seen.add(key)
        told.append([family.name, family.type, sample.name, sample.labels, sample.value])
print(json.dumps(told))
