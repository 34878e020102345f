"""What people look at: figures, tables, the paper that is typeset from them, and the results page."""

FIGURE_NAMES, TABLE_NAMES = figures_of(STUDY), tables_of(STUDY)
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
FIGURE_CODE = {"pretrained_samples": ["figures.samples"]}  # of those whose module is not named as they are
FIGURE_CODE |= dict.fromkeys(GEOMETRY_FIGURES, ["figures.geometry", "trajectories"])
FIGURE_CODE |= dict.fromkeys(DESIGN_FIGURES, ["figures.designs", "checkpoints", "recipes"])
FIGURE_CODE |= dict.fromkeys(RECIPE_FIGURES, ["figures.recipe"]) | dict.fromkeys(CROSSING_FIGURES, ["figures.crossing"])
FIGURE_INPUTS = {
    name: [
        *FIGURE_FILES.get(name, [LAYOUT.summary]),
        *sources(*(f"nonnormal.{module}" for module in FIGURE_CODE.get(name, [f"figures.{name}"]))),
    ]
    for name in FIGURE_NAMES
}
FIGURES = LAYOUT.figures(FIGURE_NAMES)
TABLE_INPUTS = {name: [] for name in TABLE_NAMES} | {"claims": ["paper/claims.yaml"]}
TABLES = LAYOUT.tables(TABLE_NAMES)


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
        command=body("nonnormal.study.cli.show:figure"),
    shell:
        "nonnormal figure {params.study} --name {wildcards.figure} > {log} 2>&1"


rule table:
    input:
        lookup("{table}", within=TABLE_INPUTS),
        summary=LAYOUT.summary,
        published="paper/references/published.csv",
        code=sources("nonnormal.study.cli.show:table"),
    output:
        LAYOUT.table("{table}", "csv"),
        report(LAYOUT.table("{table}", "md"), caption="../report/table.rst", category="Tables"),
        LAYOUT.table("{table}", "typ"),
    log:
        LOGS / "table-{table}.log",
    wildcard_constraints:
        table="|".join(TABLE_NAMES),
    localrule: True
    conda:
        ENVIRONMENT
    params:
        study=LAYOUT.study,
        command=body("nonnormal.study.cli.show:table"),
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
        command=body("nonnormal.study.cli.show:paper"),
    shell:
        "nonnormal paper {params.study} > {log} 2>&1"


rule page:
    input:
        LAYOUT.figures(FIGURE_NAMES, ["png"]),
        LAYOUT.tables(TABLE_NAMES, ["csv"]),
        needed(STUDY, LAYOUT),
        captions=["workflow/report/figure.rst", "workflow/report/table.rst"],
        code=[*sources("nonnormal.study.cli.show:page"), *templates()],
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
        command=body("nonnormal.study.cli.show:page"),
    shell:
        "nonnormal page {params.study} > {log} 2>&1"
