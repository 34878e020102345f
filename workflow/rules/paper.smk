"""What people look at: figures and tables of each experiment, the paper typeset from them, and the results page."""

FIGURES = LAYOUT.figures(figures_of(STUDY))
TABLES = LAYOUT.tables(tables_of(STUDY))
READABLE = [name for each in experiments_of(STUDY) for name in each.modules(*(t.readable for t in each.tables))]
READABLE += [each.package for each in experiments_of(STUDY)]  # titles and captions

for EXPERIMENT in experiments_of(STUDY):
    SHOWN_FIGURES = EXPERIMENT.figures_of(STUDY)

    rule:
        name:
            f"show_{EXPERIMENT.name}"
        input:
            files=[path for figure in SHOWN_FIGURES for path in figure.files(STUDY, LAYOUT)],
            tables=[
                *map(str, [LAYOUT.summary] * bool(EXPERIMENT.tables)),
                *(f for t in EXPERIMENT.tables for f in t.inputs(LAYOUT)),
            ],
            published="paper/references/published.csv",
        output:
            [LAYOUT.caption("figure", figure.name) for figure in SHOWN_FIGURES],
            [LAYOUT.caption("table", table.name) for table in EXPERIMENT.tables],
            LAYOUT.figures([figure.name for figure in SHOWN_FIGURES], ["pdf"]),
            LAYOUT.tables([table.name for table in EXPERIMENT.tables], ["csv", "typ"]),
            [
                report(LAYOUT.figure(figure.name, "png"), caption=caption_of("figure", figure), category="Figures")
                for figure in SHOWN_FIGURES
            ],
            [
                report(LAYOUT.table(table.name, "md"), caption=caption_of("table", table), category="Tables")
                for table in EXPERIMENT.tables
            ],
        log:
            LOGS / f"show-{EXPERIMENT.name}.log",
        benchmark:
            BENCHMARKS / f"show-{EXPERIMENT.name}.tsv"
        localrule: True
        conda:
            ENVIRONMENT
        params:
            study=LAYOUT.study,
            experiment=EXPERIMENT.name,
            pairs=[(run["q"], run["p"]) for run in RESOLVED["runs"].values()],
            code=digest("nonnormal.study.report.text", *EXPERIMENT.modules(*EXPERIMENT.functions(STUDY))),
            command=body("nonnormal.study.cli.show:show"),
        shell:
            "nonnormal show {params.experiment} {params.study} > {log} 2>&1"


rule paper:
    input:
        FIGURES,
        TABLES,
        means=LAYOUT.means,
        provenance=LAYOUT.provenance,
        borrowed=LAYOUT.borrowed,
        source=["paper/paper.typ", *sorted(map(str, Path("paper/sections").glob("*.typ")))],
        references=["paper/references/references.yaml", "paper/references/published.csv"],
    output:
        report(LAYOUT.paper, caption="../report/paper.rst", category="Paper"),
    log:
        LOGS / "paper.log",
    benchmark:
        BENCHMARKS / "paper.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        study=LAYOUT.study,
        settings=STUDY.sha256,
        command=body("nonnormal.study.cli.show:paper"),
    shell:
        "nonnormal paper {params.study} > {log} 2>&1"


rule page:
    input:
        LAYOUT.figures(figures_of(STUDY)),
        LAYOUT.tables(tables_of(STUDY), ["csv"]),
        needed(STUDY, LAYOUT),
        [path for _, table in tables_of(STUDY).values() for path in table.inputs(LAYOUT)],
        templates=templates(),
    output:
        LAYOUT.page,
    log:
        LOGS / "page.log",
    benchmark:
        BENCHMARKS / "page.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        study=LAYOUT.study,
        settings=STUDY.sha256,
        code=digest("nonnormal.study.cli.show:page", *READABLE),
        command=body("nonnormal.study.cli.show:page"),
    shell:
        "nonnormal page {params.study} > {log} 2>&1"
