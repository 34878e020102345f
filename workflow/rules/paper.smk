"""What people look at: figures, tables, the paper that is typeset from them, and the results page."""

FIGURE_INPUTS = {}
if RUNS:
    FIGURE_INPUTS = {
        "cost": [LAYOUT.summary, *sources("nonnormal.figures.cost")],
        "losses": [*sources("nonnormal.figures.losses")],
        "samples": [
            *(LAYOUT.samples(run, STUDY.headline_steps) for run in RUNS),
            *sources("nonnormal.figures.samples"),
        ],
        "steps": [LAYOUT.summary, *sources("nonnormal.figures.steps")],
        "style": [LAYOUT.summary, *sources("nonnormal.figures.style")],
        "training": [
            *(LAYOUT.log(run) for run in RUNS),
            *sources("nonnormal.figures.training"),
        ],
    }
if STUDY.exchange:
    FIGURE_INPUTS["exchange"] = [LAYOUT.summary, *sources("nonnormal.figures.exchange")]
if STUDY.geometry:
    for name in GEOMETRY_FIGURES:
        made = LAYOUT.trajectories if name == "projection" else LAYOUT.summary
        FIGURE_INPUTS[name] = [made, *sources("nonnormal.figures.geometry")]
if STUDY.designs:
    code = sources("nonnormal.figures.designs")
    weights = [LAYOUT.weights(run) for run in STUDY.shown_designs]
    FIGURE_INPUTS["designs"] = [LAYOUT.summary, *code]
    FIGURE_INPUTS["order"] = [*weights, *code]
    FIGURE_INPUTS["corruption"] = [*weights, LAYOUT.data, *code]
    if STUDY.designs.extend:
        FIGURE_INPUTS["extension"] = [LAYOUT.extension, *code]
if STUDY.invariance:
    FIGURE_INPUTS["invariance"] = [LAYOUT.summary, *sources("nonnormal.figures.invariance")]
if STUDY.pretrained:
    FIGURE_INPUTS["pretrained"] = [LAYOUT.summary, *sources("nonnormal.figures.pretrained")]
    FIGURE_INPUTS["pretrained_samples"] = [LAYOUT.pretrained_samples, *sources("nonnormal.figures.samples")]
if STUDY.recipe:
    for name in RECIPE_FIGURES:
        FIGURE_INPUTS[name] = [LAYOUT.summary, *sources("nonnormal.figures.recipe")]
if STUDY.crossing:
    code = sources("nonnormal.figures.crossing")
    FIGURE_INPUTS["crossing"] = [LAYOUT.summary, *code]
    FIGURE_INPUTS["crossing_samples"] = [LAYOUT.crossing_samples, *code]
FIGURES = [LAYOUT.figure(name, extension) for name in FIGURE_INPUTS for extension in FIGURE_FORMATS]
TABLES_OF = {"geometry": STUDY.geometry, "solvers": STUDY.geometry, "designs": STUDY.designs}
TABLES_OF |= {"pretrained": STUDY.pretrained, "crossing": STUDY.crossing}
TABLES_OF |= {name: STUDY.recipe for name in RECIPE_TABLES}
STUDY_TABLES = [name for name in TABLE_NAMES if TABLES_OF.get(name, RUNS)]
TABLE_INPUTS = {name: [] for name in STUDY_TABLES} | {"claims": ["paper/claims.yaml"]}
TABLES = [LAYOUT.table(name, extension) for name in STUDY_TABLES for extension in TABLE_FORMATS]


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
        pairs=[(run.q, run.p) for run in STUDY.runs.values()],
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
        table="|".join(STUDY_TABLES),
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
        photographs=[path for path in (PHOTOGRAPHS / "summary.csv",) if STUDY.headline and path.is_file()],
        source="paper/paper.typ",
        references="paper/references/references.yaml",
    output:
        report(LAYOUT.paper, caption="../report/paper.rst", category="Paper"),
    log:
        LOGS / "paper.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        study=LAYOUT.study,
        title=STUDY.title,
    shell:
        "nonnormal paper {params.study} > {log} 2>&1"


rule page:
    input:
        [path for path in FIGURES if path.suffix == ".png"],
        [path for path in TABLES if path.suffix == ".csv"],
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
