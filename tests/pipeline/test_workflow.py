"""The DAG, really run: what is made, what is re-run, what is refused."""

import base64
import dataclasses
import importlib.metadata
import json
import os
import re
import shutil
import time
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import sshd
import yaml
from conftest import Workspace, miniature
from packaging.specifiers import SpecifierSet
from summaries import assert_tidy

from nonnormal.study.config import load
from nonnormal.study.registry import figures_of, jobs_of
from nonnormal.study.results.paths import BORROWED, Layout
from nonnormal.study.results.summary import read_rows
from nonnormal.study.stages import stages_of

PROJECT = Path(__file__).parents[2]

RUNS = ["normal-normal", "laplace-laplace", "uniform-normal", "uniform-laplace"]
TRAININGS = {run: [run, f"{run}@1", f"{run}@2"] for run in RUNS}

# One worker runs this file (`--dist loadfile`): its tests share a finished workspace and put back what they change.


@pytest.fixture
def workspace(workspace, forks):
    """A fresh copy, with commands that start at once."""
    return dataclasses.replace(workspace, commands=forks)


@pytest.fixture
def changed(finished):
    """Applies a change to the finished workspace's study, and takes it back after the test."""
    before = finished.study()

    def change(edit):
        study = finished.study()
        edit(study)
        finished.write_study(study)
        return finished

    yield change
    finished.write_study(before)


@pytest.mark.parametrize("arguments", [("--directory", "other"), ("--snakefile", "../Snakefile")])
def test_running_from_elsewhere_is_refused(workspace, arguments):
    other = workspace.folder / "other"
    other.mkdir()
    space = dataclasses.replace(workspace, folder=other) if "--snakefile" in arguments else workspace
    done = space("snakemake", "--dry-run", "--cores", "1", *arguments, check=False)
    assert done.returncode == 1
    assert f"the workflow runs at the top of the project: cd {workspace.folder}" in done.stdout
    assert not list(other.glob("results"))


def test_summary_has_real_numbers_for_every_pair(finished):
    summary = read_rows(finished.folder / "results/digits/summary.csv")
    assert_tidy(summary)
    assert summary.value.notna().all()
    assert (summary.low <= summary.value).all()
    assert (summary.value <= summary.high).all()
    for run in RUNS:
        metrics = set(summary[summary.run == run].metric)
        assert {"bpd_total", "bpd_prior", "bpd_diffusion", "bpd_reconstruction", "fid_digits", "kid_digits"} <= metrics
        assert {"diffusion_ratio", "bpd_growth", "style_total_variation", "step_swap_fid_digits"} <= metrics
    in_law = summary.metric.str.startswith(("w1_", "ks_", "sliced_", "phase_space_w1", "order_", "few_steps_optimum"))
    assert (summary.mixture.notna() == (in_law & (summary.metric != "ks_path_maximum"))).all()
    assert ((summary.data == "digits") == ~in_law).all()


def test_bound_is_the_sum_of_its_terms(finished):
    summary = pd.read_csv(finished.folder / "results/digits/summary.csv")
    bounds = summary[summary.metric.str.startswith("bpd_") & summary.constant.isna()]
    wide = bounds.assign(T=bounds["T"].fillna(0)).pivot_table(
        index=["run", "nfe", "bound", "T", "marginals"], columns="metric", values="value"
    )
    wide = wide.drop(columns="bpd_growth", errors="ignore").dropna()
    assert len(wide) >= 4 * len(RUNS)  # native, normal and continuous bounds, and the bridge walk
    total = wide.bpd_prior + wide.bpd_diffusion + wide.bpd_reconstruction
    assert (total - wide.bpd_total).abs().max() < 1e-9


def test_paper_figures_and_tables_are_there(finished):
    assert (finished.folder / "paper/paper.pdf").read_bytes().startswith(b"%PDF")
    for figure in figures_of(load(finished.folder / "config/digits.yaml")):
        assert (finished.folder / f"paper/figures/{figure}.pdf").read_bytes().startswith(b"%PDF")
        assert (finished.folder / f"paper/figures/{figure}.png").read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(finished.folder / "paper/tables/pairs.csv")
    table = table[table.run.notna()]  # the last row is that of held-out images
    assert list(table.run) == RUNS
    assert table.published_bpd.tolist() == [2.49, 2.47, 2.82, 2.66]
    claims = pd.read_csv(finished.folder / "paper/tables/claims.csv")
    assert claims.verdict.notna().all()
    assert claims.value.notna().sum() > 15
    absent = claims.reason.str.extract(r"^the study \w+ has no rows of (\w+)$")[0].dropna()
    # Images are grey, there are too few numbers of steps or families for an order, and none of heavy tails.
    assert absent.str.startswith(("style_saturation", "order_", "step_swap_style_", "boundary_")).all()


WIDTHS = """
const images = [...arguments[0].querySelectorAll(".samples img")];
return Promise.all(images.map((image) => image.decode().then(() => image.naturalWidth)));
"""


def shown(browser, selector):
    """Texts of what the selector finds, as they are seen."""
    return [each.text.strip() for each in browser.find_elements("css selector", selector)]


def test_the_results_page_works_from_its_file_alone(finished, browser, tmp_path):
    page = tmp_path / "results.html"
    shutil.copy(finished.folder / "paper/results.html", page)
    browser.get(page.as_uri())
    browser.find_element("css selector", "html[data-ready=true]")
    assert set(shown(browser, "#run-table tbody th")) >= {*RUNS, "haar-laplace", "psld"}

    header = browser.find_element("css selector", "#run-table thead th")
    orders = [shown(browser, "#run-table tbody th")]
    for _ in range(2):
        browser.execute_script("arguments[0].click()", header)
        orders.append(shown(browser, "#run-table tbody th"))
    assert orders[1] == sorted(orders[0])
    assert orders[2] == sorted(orders[0], reverse=True)

    browser.find_element("css selector", "#run-table_wrapper input").send_keys("haar")
    assert shown(browser, "#run-table tbody th") == ["haar-laplace"]
    data = json.loads(browser.execute_script("return document.getElementById('data').textContent"))
    alike = [tuple(row[:8]) for row in data["rows"] if row[1] is not None]
    assert len(alike) == len(set(alike))
    rows = len(data["rows"])
    assert shown(browser, "#all-numbers_wrapper .dt-info") == [f"1 to 20 of {rows:,}"]
    browser.find_element("css selector", "#all-numbers_wrapper input").send_keys("representation_bpd haar")
    kept = shown(browser, "#all-numbers tbody tr")
    assert 0 < len(kept) < 20
    assert all("representation_bpd_total" in row and "haar-laplace" in row for row in kept)
    browser.find_element("css selector", "#run-table_wrapper input").send_keys("\ue003" * 4)  # backspace

    for run, images in (("laplace-laplace", 1), ("haar-laplace", 0)):
        opener = browser.find_element("css selector", f"button.open[data-run={run}]")
        browser.execute_script("arguments[0].click()", opener)  # the bar at the top may cover it
        panel = browser.find_element("css selector", "dialog[open]")
        found = browser.execute_script(WIDTHS, panel)
        assert len(found) == images
        assert min(found, default=500) >= 500
        assert panel.find_element("css selector", ".curve svg path").is_displayed()
        provenance = panel.find_element("css selector", ".provenance").text
        assert f"results/digits/{run}/weights.safetensors as made\nnonnormal train at " in provenance
        assert "data/digits.safetensors" in provenance
        of_it = sum(row[1] == data["runs"].index(run) for row in data["rows"])
        assert panel.find_element("css selector", ".measured .dt-info").text.endswith(f" of {of_it}")
        browser.find_element("css selector", "dialog[open] .close").click()

    browser.find_element("css selector", "#all-numbers_wrapper input").send_keys("\ue009a\ue000\ue003")  # Ctrl+A
    browser.execute_script("arguments[0].click()", browser.find_element("css selector", ".head .count"))
    verdict = browser.find_element("css selector", ".head .count[aria-pressed=true]")
    kept = shown(browser, "#claim-table tbody .verdict")
    assert kept == [verdict.get_attribute("data-verdict")] * int(verdict.find_element("tag name", "b").text)
    link = browser.find_element("css selector", "#claim-table a.rows")
    browser.execute_script("arguments[0].click()", link)
    places = data["views"][link.get_attribute("data-view")]
    assert len(shown(browser, "#all-numbers tbody tr")) == min(20, len(places))
    pair = browser.find_element("css selector", "#pair").get_attribute("value")
    found = shown(browser, "#compared_wrapper .dt-info")
    assert found == [f"1 to {min(20, len(data['compared'][pair]))} of {len(data['compared'][pair])}"]

    folder = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", folder)
    for selector in (
        "#numbers .csv",
        "#claims .csv",
        "#figure-steps a[download$=png]",
        "#figure-steps a[download$=pdf]",
        "#made a",
    ):
        browser.execute_script("arguments[0].click()", browser.find_element("css selector", selector))
    names = {f"digits-{name}" for name in ("numbers.csv", "claims.csv", "steps.png", "steps.pdf")} | {"digits.bib"}
    for _ in range(300):
        if all((tmp_path / name).is_file() for name in names):
            break
        time.sleep(0.1)
    assert len(pd.read_csv(tmp_path / "digits-numbers.csv")) == len(places)
    assert len(pd.read_csv(tmp_path / "digits-claims.csv")) == len(kept)
    figure = finished.folder / "paper/figures/steps.pdf"
    assert (tmp_path / "digits-steps.pdf").read_bytes() == figure.read_bytes()
    assert (tmp_path / "digits-steps.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "digits.bib").read_text().startswith("@software{nonnormal,")

    colour = "return getComputedStyle(document.body).backgroundColor"
    before = browser.execute_script(colour)
    browser.find_element("id", "theme").click()
    assert browser.execute_script(colour) != before
    for width in (400, 1400):
        size = dict(width=width, height=900, deviceScaleFactor=1, mobile=False)
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert browser.execute_script("return innerWidth") == width
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        for kind, at in (("narrow", 400), ("wide", 1400)):  # orientations of the table of pairs
            assert browser.find_element("css selector", f"#table-pairs .{kind}").is_displayed() == (width == at)
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_second_call_has_nothing_to_do(finished):
    assert "Nothing to be done" in finished("snakemake", "--cores", "2").stdout
    assert "up to date" in finished("dvc", "repro").stdout


def test_one_runs_setting_reruns_that_run_and_what_depends_on_it(changed):
    workspace = changed(lambda study: study["runs"]["laplace-laplace"].update(training={"learning_rate": 1e-4}))
    jobs = workspace.planned()
    trainings = TRAININGS["laplace-laplace"]
    of_each = {f"{rule} run={name}" for rule in ("train", "sample", "bounds", "fidelity") for name in trainings}
    assert {job for job in jobs if "run=" in job} == of_each | {"step_swap run=laplace-laplace"}
    assert {"summary", "paper"} <= jobs
    assert not any(job.startswith(("data", "features", "convergence")) for job in jobs)


def test_how_often_a_training_is_saved_and_logged_trains_nothing(changed):
    """Paper and page tell of the whole study."""
    often = {"checkpoint_every": 3, "log_every": 1}
    assert changed(lambda study: study["defaults"]["training"].update(often)).planned() == {"page", "paper"}


def test_evaluation_setting_trains_nothing(changed):
    workspace = changed(lambda study: study["evaluation"].update(bootstrap=20))
    jobs, study = workspace.planned(), load(workspace.folder / "config/digits.yaml")
    assert not any(job.startswith(("train", "sample", "features", "convergence")) for job in jobs)
    fidelity = {f"fidelity run={name}" for names in TRAININGS.values() for name in names}
    assert fidelity | {f"step_swap run={name}" for name in study.step_swap.of_runs(study)} <= jobs


def test_another_number_of_steps_is_drawn_and_bounded_beside_the_others(changed):
    more = {"sampling": "nfe", "evaluation": "timesteps"}
    jobs = changed(lambda study: [study[section].update({key: [2, 3]}) for section, key in more.items()]).planned()
    assert {f"{rule} run={run}" for rule in ("sample", "bounds", "fidelity") for run in RUNS} <= jobs
    untouched = (
        "train",
        "step_swap",
        "representations run",
        "phase_space",
        "ablation",
        "geometry",
        "outpainting",
        "convergence",
    )
    assert not any(job.startswith(untouched) for job in jobs)


def test_a_large_file_made_again_with_the_same_content_makes_nothing_again(tmp_path, forks):
    """As the profile says: of a file above 1 MB Snakemake itself compares the time alone."""
    space = Workspace(tmp_path, forks)
    rule = 'rule all:\n    input: "large"\n    output: "small"\n    shell: "wc -c {input} > {output}"\n'
    (tmp_path / "Snakefile").write_text(rule)
    (tmp_path / "large").write_bytes(bytes(2_000_000))
    command = ("snakemake", "--workflow-profile", str(PROJECT / "workflow/profiles/default"))
    space(*command)
    os.utime(tmp_path / "large", (2e9, 2e9))
    assert "Nothing to be done" in space(*command, "--dry-run").stdout
    (tmp_path / "large").write_bytes(bytes(2_000_001))
    os.utime(tmp_path / "large", (2e9, 2e9))
    assert "rule all" in space(*command, "--dry-run").stdout


def test_a_section_of_its_own_reruns_its_own_rule(changed):
    of_a_run = ("train", "sample", "bounds", "fidelity", "step_swap")
    jobs = changed(lambda study: study["convergence"].update(n_paths=200)).planned()
    assert {"convergence", "summary", "show_convergence"} <= jobs
    assert not any(job.startswith(of_a_run) for job in jobs)
    jobs = changed(lambda study: study["step_swap"].update(nfe=[3])).planned()
    assert {f"step_swap run={run}" for run in RUNS} <= jobs
    assert not any(job.startswith(of_a_run[:4]) for job in jobs)
    jobs = changed(lambda study: study["ablation"].update(n_images=9)).planned()
    assert {"ablation", "summary", "show_ablation"} <= jobs
    assert not any(job.startswith((*of_a_run[:4], "geometry", "phase_space")) for job in jobs)


def test_a_study_may_leave_out_its_sections(workspace):
    study = workspace.study()
    del study["convergence"], study["step_swap"], study["ablation"]
    workspace.write_study(study)
    jobs = workspace.planned()
    assert {"fidelity run=normal-normal", "summary", "paper", "show_pairs"} <= jobs
    left_out = ("convergence", "step_swap", "ablation")
    assert not any(name in job for name in left_out for job in jobs)


def test_an_edit_of_an_own_step_reruns_what_it_made(workspace):
    step = workspace.folder / "my_steps.py"
    step.write_text("from nonnormal.steps import Normal\n\n\nclass Mine(Normal):\n    name = 'mine'\n")
    study = miniature(workspace.study())
    study["convergence"]["step_families"] = ["normal", "my_steps:Mine"]
    workspace.write_study(study)
    target = "results/digits/convergence.csv"
    workspace("snakemake", "--cores", "1", "--quiet", "all", "--", target)
    assert workspace.planned(target) == set()
    step.write_text(step.read_text() + "    # edited\n")
    assert workspace.planned(target) == {"convergence"}


def test_a_deleted_figure_is_remade_with_those_of_its_experiment_alone(finished):
    figure = finished.folder / "paper/figures/steps.pdf"
    before = figure.read_bytes()
    figure.unlink()
    assert finished.planned() == {"show_pairs", "paper", "page"}
    finished("snakemake", "--cores", "1", "--quiet", "all")
    assert figure.read_bytes() == before, "the same numbers draw the same bytes"


def test_same_study_gives_the_same_bytes(finished, workspace):
    """Also by the commands that are installed, where forks made the other."""
    workspace.write_study(finished.study())
    target = "results/digits/laplace-laplace/step_swap.csv"
    sampled = "results/digits/laplace-laplace/samples/2.safetensors"
    workspace.installed("snakemake", "--cores", "2", "--quiet", "all", "--", target, sampled)
    for name in ("weights.safetensors", "training.csv", "step_swap.csv", "samples/2.safetensors"):
        path = f"results/digits/laplace-laplace/{name}"
        assert (workspace.folder / path).read_bytes() == (finished.folder / path).read_bytes(), name


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda s: s.update(wieghts=3), ["wieghts", "unknown key", "allowed here"]),
        (lambda s: s["runs"]["uniform-normal"].update(p="uniform"), ["runs.uniform-normal.p", "infinite", "laplace"]),
        (lambda s: s["defaults"]["training"].update(timesteps=0), ["training.timesteps", "found 0", "greater than"]),
        (lambda s: s["runs"]["normal-normal"].update(q="gauss"), ["runs.normal-normal.q", '"gauss"', "laplace"]),
        (lambda s: s.update(data="mnist"), ["data", '"mnist"', "digits"]),
    ],
    ids=["unknown key", "infinite pair", "no steps", "unknown family", "unknown data"],
)
def test_bad_study_is_refused_before_any_job(workspace, edit, said):
    study = workspace.study()
    edit(study)
    workspace.write_study(study)
    done = workspace("snakemake", "--cores", "1", check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    for words in ("config/digits.yaml", *said):
        assert words in done.stdout
    assert not (workspace.folder / "results/digits").exists()


def test_snakemake_reads_a_study_as_the_commands_do(workspace):
    study, file = workspace.study(), workspace.folder / "config/digits.yaml"
    study["defaults"]["training"]["learning_rate"] = "1e-3"
    workspace.write_study(study)
    assert "train run=normal-normal" in workspace.planned()
    done = workspace("snakemake", "--dry-run", "--config", "seed=-1", check=False)
    assert "--config: seed: found -1" in done.stdout
    file.write_text(file.read_text() + "seed: 1\nseed: 2\n")
    done = workspace("snakemake", "--dry-run", check=False)
    assert "config/digits.yaml: line" in done.stdout
    assert "the key seed is given twice" in done.stdout


def test_all_trainings_of_a_run_are_planned(workspace):
    study = load(workspace.folder / "config/digits.yaml")
    planned = workspace.planned()
    assert study.replicates > 1
    for job in ("train", "sample", "bounds"):
        assert {f"{job} run={run}" for run in study.trainings()} <= planned
    assert {f"step_swap run={run}" for run in study.step_swap.runs} <= planned
    assert not any(job.startswith("geometry") and "@" in job for job in planned)


def test_every_study_dry_runs(workspace):
    for study in sorted((workspace.folder / "config").glob("*.yaml")):
        planned = workspace.planned("--configfile", str(study))
        assert planned >= {"data", "features", "summary"}
        if study.name == "pretrained.yaml":
            made = {"import_pretrained", "pretrained", "show_pretrained"}
            assert planned == made | {"data", "features", "summary", "page"}
        else:
            assert "paper" in planned


def test_a_network_of_a_folder_is_taken_over_again_where_its_files_change(workspace):
    files = [
        f"network/{name}" for name in ("scheduler/scheduler_config.json", "unet/a.safetensors", "unet/config.json")
    ]
    for name in (*files, "network/unet/a.bin"):
        (workspace.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace.folder / name).touch()
    study = yaml.safe_load((workspace.folder / "config/pretrained.yaml").read_text())
    study["pretrained"] |= {"path": "network", "hub_id": None, "revision": None}
    (workspace.folder / "study.yaml").write_text(yaml.safe_dump(study))
    target = f"results/{study['name']}/pretrained/network.safetensors"
    planned = workspace("snakemake", "--dry-run", "--configfile", "study.yaml", "--", target).stdout
    [inputs] = re.findall(r"^rule import_pretrained:\n +input: (.*)$", planned, flags=re.MULTILINE)
    assert [name for name in inputs.split(", ") if name.startswith("network")] == files


def test_weights_that_a_training_starts_from_are_its_inputs_and_are_trained_before(workspace):
    study = yaml.safe_load((workspace.folder / "config/smoke.yaml").read_text())
    (workspace.folder / "mine.safetensors").touch()
    first, *_ = study["runs"]
    own, other = f"results/starts/{first}/weights.safetensors", "mine.safetensors"
    starts = {name: {"training": {"init_from": file}} for name, file in (("longer", own), ("tuned", other))}
    runs = {first: study["runs"][first], **starts}
    (workspace.folder / "study.yaml").write_text(
        yaml.safe_dump({"name": "starts", "data": "digits", "defaults": study["defaults"], "runs": runs})
    )
    targets = [f"results/starts/{name}/weights.safetensors" for name in starts]
    planned = workspace("snakemake", "--dry-run", "--configfile", "study.yaml", "--", *targets).stdout
    inputs = re.findall(r"^rule train:\n +input: (.*)$", planned, flags=re.MULTILINE)
    assert sorted(inputs) == sorted(f"data/digits.safetensors{more}" for more in ("", f", {own}", f", {other}"))


def test_use_conda_works_from_the_top_level(finished, changed, tmp_path):
    """With a stand-in `conda`: this shows the deployment path, not that the environment solves."""
    conda = tmp_path / "bin" / "conda"
    conda.parent.mkdir()
    conda.write_text(STAND_IN_CONDA)
    conda.chmod(0o755)
    activate = conda.parent / "activate"
    activate.write_text('export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"\n')
    figure = finished.folder / "paper/figures/losses.png"
    figure.unlink()
    path = f"{conda.parent}:{finished.environment()['PATH']}"
    changed(lambda study: study.update(resources={"gpus": 1}))
    finished("snakemake", "--cores", "1", "--use-conda", "--conda-create-envs-only", PATH=path)
    changed(lambda study: study.pop("resources"))
    finished("snakemake", "--cores", "1", "--use-conda", PATH=path)
    assert figure.exists()
    assert "Nothing to be done" in finished("snakemake", "--cores", "1").stdout
    used = {made.read_text() for made in (finished.folder / ".snakemake/conda").glob("*.yaml")}
    assert used == {(PROJECT / f"workflow/envs/{kind}.yaml").read_text() for kind in ("cpu", "gpu")}
    installed = list((finished.folder / ".snakemake/conda").glob("*/bin/nonnormal"))
    assert len(installed) == 2, "the post-deploy scripts install the package"


STAND_IN_CONDA = """#!/usr/bin/env python3
import json, pathlib, subprocess, sys, sysconfig
arguments = sys.argv[1:]
if arguments[:1] == ["--version"]:
    print("conda 25.1.0")
elif arguments[:1] == ["info"]:
    print(json.dumps({"conda_prefix": str(pathlib.Path(__file__).parents[1]), "platform": "linux-64"}))
elif arguments[:1] == ["config"]:
    print(json.dumps({"get": {"channel_priority": "strict"}}))
elif arguments[:2] == ["env", "create"]:
    prefix = arguments[arguments.index("--prefix") + 1]
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    [site] = pathlib.Path(prefix).glob("lib/python*/site-packages")
    (site / "parent.pth").write_text(sysconfig.get_paths()["purelib"])
"""


@pytest.mark.parametrize("name", ["smoke", "pretrained"])
def test_dvc_stages_make_what_the_rules_make(workspace, name):
    """Each file by one stage, which may run its rule, has what it is made from, and depends on the rule's settings."""
    study_file = workspace.folder / f"config/{name}.yaml"
    study = load(study_file)
    layout = Layout(study.name, study.data_name, study.headline)
    stages = stages_of(study, layout, f"config/{name}.yaml")
    told = workspace("snakemake", "--dry-run", "--configfile", f"config/{name}.yaml").stdout
    jobs = re.findall(r"^(?:local)?rule (\w+):\n(?: +input: (.*)\n)? +output: (.*)$", told, flags=re.MULTILINE)
    made = {}
    for rule, read, written in jobs:
        for stage in (stage for stage in stages.values() if rule in stage.rules):
            own = set(map(str, stage.files))
            made |= dict.fromkeys(written.split(", "), stage.name)
            inputs = {path for path in read.split(", ") if path and "src/nonnormal/" not in path}
            known = own | set(map(str, stage.inputs))
            assert not {path for path in inputs if not {path, str(Path(path).parent)} & known}, rule
    assert made == {str(path): stage.name for stage in stages.values() for path in stage.files}
    for _, job in jobs_of(study).values():
        assert set(job.settings) <= set(stages["evaluate"].params)


def test_redrawn_photographs_make_the_paper_again(finished):
    drawn = finished.folder / BORROWED["photographs"][0] / "paper/figures/style.png"
    before = drawn.read_bytes()
    drawn.write_bytes(before + b"0")
    try:
        assert finished.planned() == {"paper"}
    finally:
        drawn.write_bytes(before)


def test_dvc_has_stages_of_a_further_study_in_a_folder_of_their_own(workspace):
    workspace("git", "init", "--quiet")
    workspace("nonnormal", "dvc", "config/smoke.yaml", "--out", "studies/smoke/dvc.yaml")
    edges = re.findall(r'"(.+)" -> "(.+)"', workspace("dvc", "dag", "--dot").stdout)
    further = "studies/smoke/dvc.yaml"
    assert {("data", f"{further}:train"), (f"{further}:train", f"{further}:evaluate")} <= set(edges)
    assert {("data", "train"), ("evaluate", "report")} <= set(edges)


def test_dvc_shows_metrics_and_parameters(finished):
    metrics = json.loads(finished("dvc", "metrics", "show", "--json").stdout)
    values = metrics[""]["data"]["results/digits/metrics.json"]["data"]
    assert set(values) == set(RUNS)
    assert set(values["normal-normal"]) >= {"bpd_normal", "bpd_native", "fid"}
    told = finished("dvc", "metrics", "diff", "--all", "HEAD", "--json").stdout  # begins with what HEAD has not
    [compared] = json.loads(told[told.index("{") :]).values()
    assert compared["normal-normal.fid"]["new"] == values["normal-normal"]["fid"]
    finished("dvc", "plots", "show", "--out", "plots")
    assert (finished.folder / "plots/index.html").exists()


@pytest.fixture(params=["local", "ssh"])
def remote(request, finished, tmp_path):
    """Settings of a remote that is a folder, or the same by SSH with a server of its own; used by `finished`, too."""
    settings = finished.folder / ".dvc/config.local"
    if request.param == "local":
        settings.write_text(f"['remote \"local\"']\n    url = {finished.folder}/.dvc-store\n")
        yield settings
    elif reason := sshd.missing():
        pytest.skip(f"no SSH server here: {reason}")
    else:
        (tmp_path / "sshd").mkdir()
        with sshd.served(tmp_path / "sshd") as server:
            store = f"    url = {server.url(tmp_path / 'store')}\n    keyfile = {server.key}\n"
            settings.write_text(f"[core]\n    remote = store\n['remote \"store\"']\n{store}")
            yield settings
    settings.unlink(missing_ok=True)


def test_pull_brings_results_that_need_no_work(finished, tmp_path, remote):
    """Of this study and code: nothing is to be done, and each knows where it comes from. Of others: refused."""
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    finished("dvc", "push", "--quiet")
    finished("git", "add", "--all")
    finished("git", *identity, "commit", "--quiet", "--allow-empty", "--message", "results")
    clone = dataclasses.replace(finished, folder=tmp_path / "clone")
    finished("git", "clone", "--quiet", str(finished.folder), str(clone.folder))
    shutil.copy(remote, clone.folder / ".dvc/config.local")
    pull = ("make", f"--file={PROJECT / 'Makefile'}", "READY=", "pull")
    clone(*pull)
    assert "up to date" in clone("dvc", "status").stdout
    assert "in sync" in clone("dvc", "status", "--cloud").stdout
    chain = clone("nonnormal", "provenance", "paper/figures/cost.png").stdout
    assert "nonnormal train results/digits/study.json --run laplace-laplace" in chain
    assert "data/digits.safetensors" in chain
    assert not re.search("changed since|missing", chain)
    if "ssh://" not in remote.read_text():  # the files are the same
        assert "Nothing to be done" in clone("snakemake", "--cores", "1").stdout
        study = clone.study()
        study["runs"]["laplace-laplace"]["training"] = {"learning_rate": 1e-4}
        clone.write_study(study)
        assert "train run=laplace-laplace" in clone.planned()
        refused = clone(*pull, check=False)
        assert refused.returncode != 0
        assert re.search("^train:", refused.stdout, re.MULTILINE)
        assert "not of this study" in refused.stdout
        assert "train run=laplace-laplace" in clone.planned(), "not passed for up to date"


def pins(kind):
    """What an environment pins, by the names of the registry of Python packages."""
    entries = yaml.safe_load((PROJECT / f"workflow/envs/{kind}.yaml").read_text())["dependencies"]
    [pip] = [entry["pip"] for entry in entries if isinstance(entry, dict)]
    conda = [entry for entry in entries if isinstance(entry, str) and "==" in entry]
    return {pin.replace("pytorch-cpu==", "torch==") for pin in (*conda, *pip)}


def test_environments_that_rules_name_exist():
    named = [
        path.parent / name
        for path in (PROJECT / "workflow" / "rules").glob("*.smk")
        for name in re.findall(r'"(\.\./envs/[^"]+)"', path.read_text())
    ]
    assert named
    assert not [path for path in named if not path.is_file()]


def test_conda_pins_are_those_of_the_constraints():
    constraints = {line.strip() for line in (PROJECT / "constraints.txt").read_text().splitlines()}
    assert pins("cpu") == pins("gpu") <= constraints
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["study"]]
    needed = {re.split(r"[<>=]", entry)[0] for entry in declared}
    needed -= {"snakemake", "dvc", "rocrate"}  # which start jobs, or look at what they made
    assert {re.sub("[-_.]+", "-", pin.split("==")[0]).lower() for pin in pins("cpu")} >= needed


def test_pins_are_for_every_python_that_the_project_is_for():
    """Of the packages that are installed; the others are extras that nobody needs for make reproduce."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    lowest = re.search(r">=([\d.]+)", project["requires-python"])[1] + ".0"
    asked = {found.name: found.metadata["Requires-Python"] or "" for found in importlib.metadata.distributions()}
    assert len(asked) > 100
    assert not {name: python for name, python in asked.items() if not SpecifierSet(python).contains(lowest)}


def test_jobs_that_ask_for_the_gpu_have_it_one_after_another(workspace):
    """Two trainings that fail at once, with cores for both."""
    study = yaml.safe_load((workspace.folder / "config/smoke.yaml").read_text())
    (workspace.folder / "config/smoke.yaml").write_text(yaml.safe_dump(study | {"resources": {"gpus": 1}}))
    (workspace.folder / "data").mkdir()
    (workspace.folder / "data/digits.safetensors").write_bytes(b"none")
    stand_in = workspace.folder / "bin/nonnormal"
    stand_in.parent.mkdir()
    stand_in.write_text("#!/bin/sh\nexit 1\n")
    stand_in.chmod(0o755)
    weights = [f"results/smoke/{run}/weights.safetensors" for run in ("normal-normal", "uniform-normal")]
    command = ("snakemake", "--cores", "2", "--keep-going", "--configfile", "config/smoke.yaml", "--", *weights)
    path = f"{stand_in.parent}:{workspace.environment()['PATH']}"
    said = workspace(*command, check=False, PATH=path).stdout
    order = re.findall(r"^(?:local)?rule (train)|^(Error) in rule train", said, flags=re.MULTILINE)
    assert ["".join(pair) for pair in order] == ["train", "Error", "train", "Error"]


def test_slurm_profile_asks_for_what_the_study_says(workspace):
    """Without SLURM; `make slurm-test` has a real one."""
    study = yaml.safe_load((workspace.folder / "config/smoke.yaml").read_text())
    study["resources"] = {"gpus": 2, "mem_mb": 7000, "runtime": 90}
    (workspace.folder / "config/smoke.yaml").write_text(yaml.safe_dump(study))
    options = ("--dry-run", "--workflow-profile", "slurm", "--configfile", "config/smoke.yaml")
    planned = workspace("snakemake", *options, "--", "results/smoke/normal-normal/samples/5.safetensors").stdout
    asked = dict(re.findall(r"^rule (\w+):$.*?resources: (.*?)$", planned, flags=re.MULTILINE | re.DOTALL))
    common = {"nodes=1", "mem_mb=7000", "runtime=90"}
    assert set(asked["train"].split(", ")) >= common | {"gpu=2", "slurm_extra=--signal=TERM@120"}
    assert set(asked["sample"].split(", ")) >= common | {"gpu=1"}


def test_a_stage_makes_anew_only_what_snakemake_has_no_records_of(finished):
    """As DVC's cache brings it: newer than the code, and perhaps of other settings."""
    known, unknown = (f"results/digits/{name}.csv" for name in ("convergence", "phase_space-law"))
    expected, before = (finished.folder / unknown).read_bytes(), (finished.folder / known).stat().st_mtime_ns
    (finished.folder / unknown).write_bytes(b"of other settings")
    (finished.folder / ".snakemake/metadata" / base64.b64encode(unknown.encode()).decode()).unlink()
    finished("nonnormal", "stage", "evaluate", "config/digits.yaml")
    assert (finished.folder / unknown).read_bytes() == expected
    assert (finished.folder / known).stat().st_mtime_ns == before
    os.utime(finished.folder / unknown, ns=(before, before))  # so that the summary is the newer one again
