"""Study files with mistakes of every kind, through the command line: answered in lines that name the file, never by a
traceback, and without a file written."""

import random
from collections import Counter

import mutations
import pytest

from nonnormal.study import cli
from nonnormal.study.config import StudyError, load

BASES = [mutations.configured(name, n_runs=2) for name in ("smoke", "smoke", "smoke", "cifar10")]


@pytest.fixture
def answer(tmp_path, monkeypatch, capsys):
    """(exit code, what is said) of a command for which a study that is accepted has no weights yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def run(content: bytes):
        (tmp_path / "study.yaml").write_bytes(content)
        monkeypatch.setattr("sys.argv", ["nonnormal", "sample", "study.yaml", "--run", "normal-normal"])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, capsys.readouterr().err

    return run


@pytest.mark.fault("a study file with mistakes (seeded mutations of values, keys and text)")
@pytest.mark.parametrize("seeds", [range(100), pytest.param(range(10_000), marks=pytest.mark.slow)], ids=len)
def test_no_mistake_is_answered_by_a_traceback(seeds, answer, tmp_path, happened):
    outcomes = Counter()
    for seed in seeds:
        draw = random.Random(seed)
        study = BASES[seed % len(BASES)]
        if seed % 3 == 0:
            content = mutations.text(study, draw)
        else:
            content = mutations.written(mutations.content(study, draw))
        code, said = answer(content)
        assert code == 2, (seed, said)
        assert said.startswith("error: "), (seed, said)
        for line in said.splitlines():
            assert line.startswith("error: "), (seed, said)
            assert line.removeprefix("error: ").isprintable(), (seed, line)
            assert len(line) < 2000, (seed, line)
        accepted = "weights.safetensors" in said or "has no run" in said
        assert accepted or "study.yaml: " in said, (seed, said)
        outcomes["accepted" if accepted else "refused"] += 1
    assert outcomes["refused"] > outcomes["accepted"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]
    happened(
        f"of {len(seeds)} files {outcomes['refused']} refused in lines that name file and key, {outcomes['accepted']} "
        "still studies; no traceback, nothing written"
    )


@pytest.mark.fault("a study file that unfolds without end, or to 2⁴⁰ or 9⁹ values")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (mutations.bomb(), "unfolds to more than"),
        (mutations.merge_bomb(), "unfolds to more than"),
        ("name: x\ndata: digits\nruns: &a {r: *a}\n", "refers to itself"),
        ("name: " + "[" * 1000, "nested too deeply"),
        ("name: " + "[" * 50 + "]" * 50, "nested more than 32 deep"),
    ],
    ids=["bomb", "merge keys", "itself", "1000 brackets", "50 brackets"],
)
def test_a_study_without_end_is_refused(content, said, tmp_path, happened):
    (tmp_path / "study.yaml").write_text(content)
    with pytest.raises(StudyError, match=rf"study\.yaml: .*{said}"):
        load(tmp_path / "study.yaml")
    happened("refused at once")


@pytest.mark.fault("a study file that names a path outside of the project")
@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("name", "../../outside", "name: found"),
        ("name", "/etc", "name: found"),
        ("runs", {"../../outside": None}, "runs.../../outside: found"),
        ("runs", {"/etc/cron.d": None}, "runs./etc/cron.d: found"),
        ("runs", {"records": None}, "reserved for files and folders of the study"),
        ("data", "../digits", "data: found"),
        ("source", {"path": "/etc"}, "source.path: does not fit digits"),
        ("defaults", {"q": "../outside:Step"}, "names no step"),
        ("defaults", {"q": "os:system"}, "is not a subclass of nonnormal.steps.Step"),
        ("defaults", {"q": "nonnormal.study.cli.__main__:x"}, "cannot be loaded"),
    ],
)
def test_no_name_leads_out_of_the_project(key, value, said, answer, tmp_path, happened):
    study = {**BASES[0], key: value}
    code, message = answer(mutations.written(study))
    assert code == 2
    assert said in message
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]
    happened("refused by key; nothing written")
