"""Shared by all benchmarks: a candidate against a baseline, by turns in one run, since only their ratio travels.

Time is the processor's, on one thread, so that other work on the machine counts little.
"""

import os
import statistics
import time
from collections.abc import Callable

import pytest
import torch

THREADS = 1
TIMER = time.process_time
torch.set_num_threads(THREADS)


@pytest.fixture
def compare(benchmark, request):
    """Times candidate and baseline by turns and keeps the ratio of medians for `report.py`."""

    def run(
        candidate: Callable[[], object],
        baseline: Callable[[], object],
        *,
        what: str,
        to: str,
        rounds: int,
        calls: int = 1,
        streams: int | None = None,
        tensor: torch.Tensor | None = None,
        wanted: float | None = None,
    ) -> None:
        """Rounds of (baseline, candidate), each of several calls that find memory and caches as in a loop of their own.

        Args:
            candidate, baseline: what is timed.
            what, to: their names in the report.
            rounds: how often each is timed.
            calls: timed calls a round, after an untimed one.
            streams, tensor: tensors of this size that the candidate cannot but read or write, for the memory's limit.
            wanted: largest ratio that the project asks for; reported, never asserted, as other work shares a machine.
        """
        reference, copies = [], []

        def repeated(call):
            for _ in range(calls):
                call()

        def timed(call):
            call()
            start = TIMER()
            repeated(call)
            return TIMER() - start

        def before():
            reference.append(timed(baseline))
            if tensor is not None:
                copies.append(timed(lambda: copy.copy_(tensor)))
            candidate()

        copy = torch.empty_like(tensor) if tensor is not None else None
        benchmark.pedantic(repeated, (candidate,), setup=before, rounds=rounds)
        found = benchmark.stats.stats.data
        low, _, high = statistics.quantiles((a / b for a, b in zip(found, reference, strict=True)), n=4)
        seconds = statistics.median(found)
        benchmark.extra_info |= {
            "group": request.module.__doc__.partition(":")[0],
            "what": what,
            "baseline": to,
            "ratio": seconds / statistics.median(reference),
            "quartiles": [low, high],
            "wanted": wanted,
            "seconds": seconds / calls,
            "rounds": rounds,
            # A copy moves two streams.
            "of_memory_limit": seconds / (streams / 2 * statistics.median(copies)) if streams else None,
        }

    return run


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=TIMER, disable_gc=True))


def pytest_benchmark_update_json(config, benchmarks, output_json):
    from nonnormal import provenance

    output_json["conditions"] = provenance.describe() | {
        "threads": THREADS,
        "memory_kept": "MALLOC_TRIM_THRESHOLD_" in os.environ,
    }
