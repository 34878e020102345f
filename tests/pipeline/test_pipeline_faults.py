"""Faults that are really tried on the whole pipeline of a tiny study; its provenance, and its report in a browser."""

import base64
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import FILE, LAYOUT, OUTPUTS, RUNS, STUDY, Project, new_project

from nonnormal.study.registry import figures_of, tables_of

pytestmark = pytest.mark.slow
RUN = RUNS[0]


@pytest.fixture(scope="module")
def pipeline(made, tmp_path_factory):
    """The tiny study made by Snakemake, which was killed three times on the way."""
    folder = new_project(tmp_path_factory.mktemp("pipeline"))
    said = []
    for number, share in ((signal.SIGKILL, 0.1), (signal.SIGTERM, 0.3), (signal.SIGKILL, 0.6), (None, 1)):
        process = snakemake(folder)
        while number and process.poll() is None:
            there = sum((folder / path).exists() for path in OUTPUTS)
            if there >= share * len(OUTPUTS):
                os.killpg(process.pid, number)
                said.append(f"{number.name} to all processes when {there} of {len(OUTPUTS)} files were there")
                break
            time.sleep(0.05)
        process.wait(1200)
        assert (process.returncode == 0) == (number is None), process.log.read_text()[-4000:]
        if number:
            snakemake(folder, "--unlock").wait(300)
    return folder, said


def snakemake(folder: Path, *arguments: str) -> subprocess.Popen:
    """The pipeline in a process group of its own; what it says goes to a file, as a pipe fills up that nobody reads."""
    command = ("snakemake", "--cores", "2", "--configfile", FILE, *arguments)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    log = folder / f"snakemake-{len(list(folder.glob('snakemake-*.log')))}.log"
    with log.open("w") as output:
        streams = dict(stdout=output, stderr=subprocess.STDOUT)
        process = subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **streams)
    process.log = log
    return process


def said(process: subprocess.Popen, code: int = 0) -> str:
    """What the pipeline says until its end."""
    process.wait(1200)
    text = process.log.read_text()
    assert process.returncode == code, text[-4000:]
    return text


@pytest.mark.fault("SIGKILL, SIGTERM, SIGKILL to a whole pipeline, each time unlocked and started again")
def test_a_pipeline_that_was_killed_ends_in_the_same_bits(pipeline, made, happened):
    folder, kills = pipeline
    found = Project(folder, None).contents()
    assert found == made.reference
    assert "Nothing to be done" in said(snakemake(folder))
    happened(f"{'; '.join(kills)}; then started again: all {len(found)} files identical to those of a quiet run")


@pytest.mark.fault("two pipelines started on one folder")
def test_the_second_pipeline_on_a_folder_is_refused(pipeline, made, happened):
    folder, _ = pipeline
    (folder / LAYOUT.figure("losses", "png")).unlink()
    first = snakemake(folder)
    while first.poll() is None and not list((folder / ".snakemake/locks").glob("*")):
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGSTOP)  # else it may have ended before the second looks
    try:
        refused = said(snakemake(folder), code=1)
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    assert "lock" in refused.lower()
    assert "Traceback" not in refused
    said(first)
    assert Project(folder, None).contents() == made.reference
    happened("the second is refused (the folder is locked), the first ends with identical results")


@pytest.mark.fault("the clock goes backwards between two stages (inputs newer than what was made from them)")
def test_files_from_the_future_change_nothing(pipeline, made, happened):
    folder, _ = pipeline
    tomorrow = time.time() + 86400
    os.utime(folder / LAYOUT.data, (tomorrow, tomorrow))
    target = ("--", str(LAYOUT.weights(RUN)))
    text = said(snakemake(folder, *target))
    again = "train" in text and "Nothing to be done" not in text
    assert Project(folder, None).contents() == made.reference
    said(snakemake(folder, "--touch"))
    assert "Nothing to be done" in said(snakemake(folder))
    how = "what depends on them is made again, identically" if again else "nothing is made again"
    happened(f"{how}; after `snakemake --touch` nothing is to be done")


# ---- the report ------------------------------------------------------------------------------------------------------


@pytest.mark.fault("provenance of a finished pipeline, from a figure back to the data")
def test_the_chain_of_a_figure_reaches_the_data(pipeline, made, happened):
    folder, _ = pipeline
    project = Project(folder, made.context)
    text = project.run(["provenance", str(LAYOUT.figure("cost", "png"))])
    for path in (LAYOUT.summary, LAYOUT.rows("bounds", RUN), LAYOUT.weights(RUN), LAYOUT.samples(RUN, 2), LAYOUT.data):
        assert f"{path}  " in text
    assert "changed since" not in text
    bounds = folder / LAYOUT.rows("bounds", RUN)
    whole = bounds.read_bytes()
    bounds.write_bytes(whole + b"\n")
    text = project.run(["provenance", str(LAYOUT.figure("cost", "png"))], code=1)
    bounds.write_bytes(whole)
    [line] = [line for line in text.splitlines() if "changed since" in line]
    assert str(LAYOUT.rows("bounds", RUN)) in line
    happened("figure ← summary ← bounds ← weights ← data; a table changed by one byte is the one that is named")


@pytest.mark.fault("the HTML report of a finished pipeline, opened in a browser")
def test_the_report_shows_every_figure_table_and_caption(pipeline, browser, happened):
    folder, _ = pipeline
    said(snakemake(folder, "--report", "results/report.html"))
    browser.get((folder / "results/report.html").as_uri())
    figures = [LAYOUT.figure(name, "png") for name in figures_of(STUDY)]
    tables = [*(LAYOUT.table(name, "md") for name in tables_of(STUDY)), LAYOUT.summary]
    for category, files in {"Figures": figures, "Tables": tables, "Paper": [LAYOUT.paper]}.items():
        for path in files:
            browser.get((folder / "results/report.html").as_uri())
            browser.find_element("xpath", f"//*[normalize-space(text())='{category}']").click()
            row = browser.find_element("xpath", f"//tr[td[normalize-space(text())='{path}']]")
            row.find_element("css selector", "[iconname=information-circle]").click()
            caption = browser.execute_script(f"return results['{path}'].caption.replace(/<[^>]*>/g, '')")
            words = " ".join(caption.split())
            assert len(words) > 20, f"{path} has no caption"
            shown = " ".join(browser.find_element("tag name", "body").text.split())
            assert words.split(".")[0][:60] in shown, (path, words, shown[-500:])
            kept = browser.execute_script(f"return results['{path}'].data_uri")
            assert base64.b64decode(kept.partition("base64,")[2]) == (folder / path).read_bytes()
            if category == "Figures":
                browser.execute_script("arguments[0].click()", _eye(browser, folder, category, path))
                picture = browser.find_element("css selector", "img[src^='data:image/png'], img[src^='blob:']")
                size = browser.execute_script(
                    "return arguments[0].decode().then(() => arguments[0].naturalWidth)", picture
                )
                assert size > 300, path
    mistakes = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert mistakes == []
    happened(
        f"{len(figures)} figures drawn, {len(tables)} tables and the paper whole, each with its caption; no error in "
        f"the console of {browser.capabilities['browserName']} {browser.capabilities['browserVersion']}"
    )


def _eye(browser, folder: Path, category: str, path: Path):
    """What shows a file of the report."""
    browser.get((folder / "results/report.html").as_uri())
    browser.find_element("xpath", f"//*[normalize-space(text())='{category}']").click()
    row = browser.find_element("xpath", f"//tr[td[normalize-space(text())='{path}']]")
    return row.find_element("css selector", "[iconname=eye]")
