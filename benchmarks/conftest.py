"""Shared by all benchmarks: a candidate against a baseline, by turns in one run, since only their ratio travels.

Time is the processor's, on one thread, so that other work on the machine counts little.
"""

import os
import statistics
import time
from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

THREADS = 1
TIMER = time.process_time
SIDE = 1024  # of the square matrices whose product gives the processor's rate
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
        count: bool = False,
        wanted: float | None = None,
    ) -> None:
        """Rounds of baseline and candidate, each of several calls that find memory and caches as in their own loop.

        Args:
            candidate, baseline: what is timed.
            what, to: their names in the report.
            rounds: how often each is timed.
            calls: timed calls a round, after an untimed one.
            streams, tensor: tensors of this size that the candidate cannot but read or write, for the memory's limit.
            count: whether the candidate's products are counted, for the limit of the rate of a large one beside them.
            wanted: largest ratio that the project asks for; reported, never asserted, as other work shares a machine.
        """
        copy = torch.empty_like(tensor) if tensor is not None else None
        flops = counted(candidate) if count else 0
        square = torch.randn(SIDE, SIDE)
        found, reference, copies, products = [], [], [], []

        def timed(call):
            call()
            start = TIMER()
            for _ in range(calls):
                call()
            return TIMER() - start

        for i in range(rounds + 1):
            # In turn the first: whichever comes second finds another memory than the first left to itself.
            turns = [(candidate, found), (baseline, reference)]
            for call, times in turns if i % 2 else reversed(turns):
                times.append(timed(call))
            if tensor is not None:
                copies.append(timed(lambda: copy.copy_(tensor)))
            if count:
                products.append(timed(lambda: square @ square))
        benchmark.pedantic(candidate, rounds=1)  # enters it in the report, which has the times above
        found, reference, copies, products = found[1:], reference[1:], copies[1:], products[1:]
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
            "of_product_limit": seconds / (flops / (2 * SIDE**3) * statistics.median(products)) if count else None,
        }

    return run


def counted(call: Callable[[], object]) -> int:
    """Floating-point operations of a call's convolutions and matrix products, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=TIMER, disable_gc=False))


def pytest_benchmark_update_json(config, benchmarks, output_json):
    from nonnormal.study.results import provenance

    output_json["conditions"] = provenance.describe() | {
        "threads": THREADS,
        "memory_kept": "MALLOC_TRIM_THRESHOLD_" in os.environ,
    }
