"""Shared by all tests: one thread per process, as the tests run side by side, each step family in turn, and the list of
faults that were tried.
"""

import os
import time
from collections import defaultdict
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # of commands that tests start, too: bits are promised on a CPU

import pytest
import torch
from problems import DENSE, STEPS

from nonnormal.steps import get

torch.set_num_threads(1)


@pytest.fixture(params=STEPS)
def step(request):
    return get(request.param)


@pytest.fixture(params=DENSE)
def dense(request):
    return get(request.param)


@pytest.fixture
def happened(request):
    """happened("exit code 74, …"): what the list of faults says of this test."""
    return lambda text: request.node.user_properties.append(("happened", text))


# ---- docs/reliability.md ---------------------------------------------------------------------------------------------


def pytest_addoption(parser):
    parser.addoption(
        "--faults", type=Path, help="Write the list of faults that were tried, and what happened, to here."
    )


def pytest_configure(config):
    if config.getoption("--faults") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Faults(config.getoption("--faults")))


def pytest_collection_modifyitems(items):
    for item in items:
        item.user_properties += [("fault", mark.args[0]) for mark in item.iter_markers("fault")]


class _Faults:
    """Gathers the outcomes of the tests that try a fault, and writes them as a table at the end."""

    def __init__(self, path: Path):
        self.path, self.found, self.start = path, defaultdict(list), time.monotonic()

    def pytest_runtest_logreport(self, report):
        properties = dict(report.user_properties)
        if "fault" in properties and (report.when == "call" or report.outcome != "passed"):
            said = [text for name, text in report.user_properties if name == "happened"]
            if report.skipped:
                said = [f"not tried: {report.longrepr[2].removeprefix('Skipped: ')}"]
            self.found[properties["fault"]].append((report.nodeid, report.outcome, said))

    def pytest_sessionfinish(self, exitstatus):
        from nonnormal.files import write_text
        from nonnormal.study.results import provenance

        made = provenance.describe()
        whole = "" if exitstatus in (0, 1) else " **The run was broken off: some faults were not tried.**"
        minutes = (time.monotonic() - self.start) / 60
        state = (made["revision"] or "unknown")[:10] + " and uncommitted changes" * made["uncommitted_changes"]
        outcomes = [outcome for tries in self.found.values() for _, outcome, _ in tries]
        lines = [
            "# Reliability",
            "",
            "Written by `make reliability` from its run: which faults were tried, and what happened.",
            "",
            f"{len(outcomes)} tests, {outcomes.count('failed')} failed, {outcomes.count('skipped')} skipped, in "
            f"{minutes:.0f} minutes; {made['hardware']}; Python {made['python']}; code {state}.{whole}",
            "",
            "| Fault | What happened | Test |",
            "|---|---|---|",
        ]
        for fault, tries in sorted(self.found.items(), key=lambda entry: entry[1][0]):
            said = list(dict.fromkeys(text for _, _, texts in tries for text in texts))
            failed = [node.partition("::")[2] for node, outcome, _ in tries if outcome == "failed"]
            said = [f"**FAILED**: {', '.join(failed)}"] * bool(failed) + said
            names = dict.fromkeys(node.partition("[")[0] for node, _, _ in tries)
            tests = ", ".join(f"`{name}`" + self._times(name, tries) for name in names)
            lines.append(f"| {fault} | {'<br>'.join(map(_cell, said)) or 'refused'} | {tests} |")
        write_text(self.path, "\n".join(lines) + "\n")

    @staticmethod
    def _times(name: str, tries: list) -> str:
        count = sum(node.partition("[")[0] == name for node, _, _ in tries)
        return f" × {count}" if count > 1 else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
