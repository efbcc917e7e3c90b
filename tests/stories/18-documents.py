"""What the documents, alerts and dashboards promise is there: examples that work, metrics and alerts that exist."""

import json
import os
import re
import subprocess

import pytest

from lab.daemon import REPOSITORY, run_weir, series
from lab.origin import Origin


def text(*path):
    with open(os.path.join(REPOSITORY, *path), encoding="utf-8") as f:
        return f.read()


def documents():
    """Every Markdown file that is kept in the tree."""
    listed = subprocess.run(["find", ".", "-name", "*.md", "-not", "-path", "./build*", "-not", "-path", "./.git/*",
                             "-not", "-path", "*/node_modules/*"],
                            cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    assert len(listed) > 10
    return sorted(os.path.normpath(p) for p in listed)


def examples():
    """Every YAML example of the documents that is a configuration, whole or in part."""
    for document in documents():
        for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", text(document), re.S), 1):
            yield pytest.param(block, id="%s-%d" % (document, number))


@pytest.mark.parametrize("example", examples())
def test_every_example_of_a_configuration_is_accepted(site, example):
    for secret in re.findall(r"_file: (/etc/weir/[\w.-]+)", example):
        site.file(os.path.basename(secret), "user:a-secret-of-this-story\n")
    path = site.file("weir.yaml", example.replace("/etc/weir/", site.dir + "/").replace("/var/lib/weir", site.dir + "/data"))
    code, out, err = run_weir("check", "-c", path, env=site.env)
    assert code == 0, out + err


@pytest.mark.parametrize("path", ["deploy/prometheus/alerts.yml", "deploy/grafana/weir.json"])
def test_every_metric_that_is_watched_is_exported(site, path):
    weirs = [site.weir, site.mirror(Origin()).weir, site.hub(listen="127.0.0.1:0")]
    exported = {name for weir in weirs for name, _, _ in series(weir.metrics_text())}
    named = set(re.findall(r"\bweir_[a-z_]+", text(path)))
    assert len(named) > 5
    assert not named - exported


def test_the_dashboard_is_json_that_names_each_panel():
    panels = json.loads(text("deploy", "grafana", "weir.json"))["panels"]
    assert len({p["id"] for p in panels}) == len(panels) and all(p["title"] and p["targets"] for p in panels)


def test_the_operations_guide_has_an_entry_for_each_alert():
    alerts = re.findall(r"- alert: (\w+)", text("deploy", "prometheus", "alerts.yml"))
    guide = text("docs", "operations.md").split("## What to do when")[1]
    assert len(alerts) > 5
    assert [a for a in alerts if not re.search(r"\b%s\b" % a, guide)] == []


@pytest.mark.parametrize("document", documents())
def test_links_between_documents_lead_somewhere(document):
    folder = os.path.dirname(os.path.join(REPOSITORY, document))
    missing = []
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text(document)):
        if not re.match(r"[a-z]+:", target) and not os.path.exists(os.path.join(folder, target)):
            missing.append(target)
    assert not missing


@pytest.mark.parametrize("document", documents())
def test_links_within_a_document_lead_to_a_heading(document):
    whole = text(document)
    headings = {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in re.findall(r"^#+ (.*)$", whole, re.M)}
    assert [a for a in re.findall(r"\]\(#([^)]+)\)", whole) if a not in headings] == []


def test_every_target_that_a_document_names_is_in_the_makefile():
    makefile = text("Makefile")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    for document in documents():
        for target in re.findall(r"`make ([a-z][a-z-]*)", text(document)):
            assert target in targets, "%s: make %s" % (document, target)


def test_the_manual_explains_every_key_of_the_guide():
    manual = text("docs", "man", "weir.yaml.5").replace("\\&", "").replace("\\-", "-")
    guide = text("docs", "operations.md")
    keys = {w for w in re.findall(r"`([a-z]+_[a-z_]+)(?:: [^`]*)?`", guide)} & {
        "refs_ttl", "stale_after", "upstream_patience", "upstream_timeout", "grant_ttl", "offline_grant", "probe_first",
        "probe_max", "secret_file", "cert_file", "key_file", "token_file", "data_dir", "shutdown_grace", "offline_mode",
        "webhook_secret_file"}
    assert len(keys) > 8
    assert [k for k in sorted(keys) if k not in manual] == []
