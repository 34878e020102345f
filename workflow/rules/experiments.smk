"""A rule for each job of each experiment, and the summary of all that they measure."""

for EXPERIMENT, JOB in jobs_of(STUDY).values():
    WILDCARD = "{run}" if JOB.each else None

    rule:
        name:
            JOB.name.replace("-", "_")
        input:
            files=inputs_of(JOB),
        output:
            JOB.outputs(LAYOUT, WILDCARD),
        log:
            LOGS / (f"{JOB.name}-{{run}}.log" if JOB.each else f"{JOB.name}.log"),
        benchmark:
            BENCHMARKS / (f"{JOB.name}-{{run}}.tsv" if JOB.each else f"{JOB.name}.tsv")
        conda:
            ENVIRONMENT
        threads: STUDY.resources.threads if JOB.gpu else 1
        resources:
            gpu=GPU if JOB.gpu else None,
            mem_mb=growing(STUDY.resources.mem_mb),
            runtime=growing(STUDY.resources.runtime),
        params:
            study=LAYOUT.study,
            seed=STUDY.seed,
            job=JOB.name,
            run="--run {run}" if JOB.each else "",
            settings={section: settings_of(section, *keys) for section, keys in JOB.settings.items()},
            code=digest("nonnormal.study.cli.evaluate:evaluate", *EXPERIMENT.modules(JOB.function)),
            command=body("nonnormal.study.cli.evaluate:evaluate"),
        shell:
            "nonnormal evaluate {params.job} {params.study} {params.run} --threads {threads} > {log} 2>&1"


HEADLINE = [
    name
    for each in experiments_of(STUDY)
    if each.headline
    for name in each.modules(each.tables[0].numbers, each.headline)
]


rule summary:
    input:
        data=LAYOUT.data,
        features=LAYOUT.features,
        parts=parts(STUDY, LAYOUT),
        published="paper/references/published.csv",
    output:
        summary=report(LAYOUT.summary, caption="../report/summary.rst", category="Tables"),
        provenance=LAYOUT.provenance,
        metrics=LAYOUT.metrics,
    log:
        LOGS / "summary.log",
    benchmark:
        BENCHMARKS / "summary.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    params:
        study=LAYOUT.study,
        code=digest("nonnormal.study.cli.evaluate:summary", *HEADLINE),
        command=body("nonnormal.study.cli.evaluate:summary"),
    shell:
        "nonnormal summary {params.study} > {log} 2>&1"
