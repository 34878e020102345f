"""Each kind of stage killed at twenty random moments: started again it ends in the same bits.

A file of its own, since it takes as long as all other faults together (`--dist loadfile`).
"""

import os
import random
import signal
import time
from collections import Counter

import pytest
from tiny import LAYOUT, NETWORKS, STAGES, Project

pytestmark = pytest.mark.slow

KINDS = list(dict.fromkeys(stage.split()[0] for stage in STAGES))
POINTS = 20


def points(kind: str) -> list[tuple[str, signal.Signals, bool, float]]:
    """(stage, signal, whether to wait for a write to begin, share of its time) of each kill; each stage in turn."""
    draw = random.Random(f"kill {kind}")
    stages = [stage for stage in STAGES if stage.split()[0] == kind]
    draw.shuffle(stages)
    number = lambda: draw.choice((signal.SIGKILL, signal.SIGTERM))  # noqa: E731
    return [(stages[i % len(stages)], number(), draw.random() < 0.4, draw.random()) for i in range(POINTS)]


@pytest.mark.fault(
    f"SIGKILL or SIGTERM at {POINTS} random moments (seeded) of each kind of stage, each time started again"
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_stage_that_was_killed_ends_in_the_same_bits(kind, project, happened):
    numbers, moments, at_writes = Counter(), [], 0
    for stage, number, at_write, share in points(kind):
        writing, after = kill(project, stage, number, at_write, share)
        for path, content in project.contents(STAGES[stage][1]).items():
            whole = project.reference[path]
            growing = path.endswith("training.csv") and whole.startswith(content)
            assert content == whole or growing, f"half a file: {path}"
        project.run(stage)
        assert project.contents() == project.reference
        assert project.temporary_files() == []
        assert not any((project.folder / LAYOUT.checkpoint(run)).exists() for run in NETWORKS)
        numbers[number.name] += 1
        at_writes += writing
        moments.append(after)
    happened(
        f"{kind}: SIGKILL × {numbers['SIGKILL']}, SIGTERM × {numbers['SIGTERM']}, after {min(moments):.2f} to "
        f"{max(moments):.2f} s, {at_writes} of them as it wrote; each time identical results, nothing left behind"
    )


def kill(project: Project, stage: str, number: signal.Signals, at_write: bool, share: float) -> tuple[bool, float]:
    """Ends the stage with the signal; whether that was within a write, and after how many seconds."""
    arguments, _ = STAGES[stage]
    moment = share * project.seconds[stage]
    for _ in range(20):
        project.remove(stage)
        process, start = project.start(arguments), time.monotonic()
        writing = False
        while process.is_alive() and not writing and (at_write or time.monotonic() - start < moment):
            writing = at_write and bool(project.temporary_files())
            time.sleep(0.0005)
        after = time.monotonic() - start
        os.kill(process.pid, number) if process.is_alive() else None
        process.join(600)
        if process.exitcode != 0:
            break
        at_write, moment = False, moment * 0.6  # it had ended
    expected = (-signal.SIGKILL,) if number == signal.SIGKILL else (128 + signal.SIGTERM, 75, -signal.SIGTERM)
    assert process.exitcode in expected, project.log.read_text()
    return writing, after
