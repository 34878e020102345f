"""What people look at: figures, tables, the paper that is typeset from them, and the results page."""

SHOWN_WEIGHTS = [LAYOUT.weights(run) for run in STUDY.shown_designs]
FIGURE_FILES = {  # of those that are not drawn from the summary
    "losses": [],
    "samples": [LAYOUT.samples(run, STUDY.headline_steps) for run in RUNS],
    "training": [LAYOUT.log(run) for run in RUNS],
    "projection": [LAYOUT.trajectories],
    "order": SHOWN_WEIGHTS,
    "corruption": [*SHOWN_WEIGHTS, LAYOUT.data],
    "extension": [LAYOUT.extension],
    "pretrained_samples": [LAYOUT.pretrained_samples],
    "crossing_samples": [LAYOUT.crossing_samples],
}
FIGURE_CODE = {"pretrained_samples": "samples"}  # of those whose module is not named as they are
FIGURE_CODE |= dict.fromkeys(GEOMETRY_FIGURES, "geometry") | dict.fromkeys(DESIGN_FIGURES, "designs")
FIGURE_CODE |= dict.fromkeys(RECIPE_FIGURES, "recipe") | dict.fromkeys(CROSSING_FIGURES, "crossing")
FIGURE_INPUTS = {
    name: [*FIGURE_FILES.get(name, [LAYOUT.summary]), *sources(f"nonnormal.figures.{FIGURE_CODE.get(name, name)}")]
    for name in STUDY.figures
}
FIGURES = LAYOUT.figures(STUDY.figures)
TABLE_INPUTS = {name: [] for name in STUDY.tables} | {"claims": ["paper/claims.yaml"]}
TABLES = LAYOUT.tables(STUDY.tables)


rule figure:
    input:
        lookup("{figure}", within=FIGURE_INPUTS),
    output:
        LAYOUT.figure("{figure}", "pdf"),
        report(LAYOUT.figure("{figure}", "png"), caption="../report/figure.rst", category="Figures"),
    log:
        LOGS / "figure-{figure}.log",
    wildcard_constraints:
        figure="|".join(FIGURE_INPUTS),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        study=LAYOUT.study,
        pairs=[(run["q"], run["p"]) for run in RESOLVED["runs"].values()],
    shell:
        "nonnormal figure {params.study} --name {wildcards.figure} > {log} 2>&1"


rule table:
    input:
        lookup("{table}", within=TABLE_INPUTS),
        summary=LAYOUT.summary,
        published="paper/references/published.csv",
        code=sources("nonnormal.tables"),
    output:
        LAYOUT.table("{table}", "csv"),
        report(LAYOUT.table("{table}", "md"), caption="../report/table.rst", category="Tables"),
        LAYOUT.table("{table}", "typ"),
    log:
        LOGS / "table-{table}.log",
    wildcard_constraints:
        table="|".join(STUDY.tables),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        study=LAYOUT.study,
    shell:
        "nonnormal table {params.study} --name {wildcards.table} > {log} 2>&1"


rule paper:
    input:
        FIGURES,
        TABLES,
        summary=LAYOUT.summary,
        provenance=LAYOUT.provenance,
        photographs=LAYOUT.photographs,
        source="paper/paper.typ",
        references=["paper/references/references.yaml", "paper/references/published.csv"],
    output:
        report(LAYOUT.paper, caption="../report/paper.rst", category="Paper"),
    log:
        LOGS / "paper.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        study=LAYOUT.study,
        settings=STUDY.sha256,
    shell:
        "nonnormal paper {params.study} > {log} 2>&1"


rule page:
    input:
        LAYOUT.figures(STUDY.figures, ["png"]),
        LAYOUT.tables(STUDY.tables, ["csv"]),
        needed(STUDY, LAYOUT),
        captions=["workflow/report/figure.rst", "workflow/report/table.rst"],
        code=[*sources("nonnormal.page.document"), *templates()],
    output:
        LAYOUT.page,
    log:
        LOGS / "page.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        study=LAYOUT.study,
        settings=STUDY.sha256,
    shell:
        "nonnormal page {params.study} > {log} 2>&1"
