"""Numbers with intervals: bounds of each network, distances and style of samples, and the summary of them all."""


rule bounds:
    input:
        data=LAYOUT.data,
        weights=LAYOUT.weights("{run}"),
        code=sources("nonnormal.study.cli.evaluate:bounds"),
    output:
        LAYOUT.bounds("{run}"),
    log:
        LOGS / "bounds-{run}.log",
    benchmark:
        BENCHMARKS / "bounds-{run}.tsv"
    conda:
        ENVIRONMENT
    threads: STUDY.resources.threads
    resources:
        gpu=GPU,
        mem_mb=growing(STUDY.resources.mem_mb),
        runtime=growing(STUDY.resources.runtime),
    params:
        study=LAYOUT.study,
        seed=STUDY.seed,
        settings=settings_of("evaluation", "n_images", "n_steps", "n_evaluations", "flow_tolerance"),
        command=body("nonnormal.study.cli.evaluate:bounds"),
    shell:
        "nonnormal evaluate bounds {params.study} --run {wildcards.run} --threads {threads} > {log} 2>&1"


rule fidelity:
    input:
        data=LAYOUT.data,
        features=LAYOUT.features,
        samples=expand(str(LAYOUT.samples("{run}", "{n_steps}")), n_steps=STUDY.sample_steps, allow_missing=True),
        code=sources("nonnormal.study.cli.evaluate:fidelity"),
    output:
        LAYOUT.fidelity("{run}"),
    log:
        LOGS / "fidelity-{run}.log",
    benchmark:
        BENCHMARKS / "fidelity-{run}.tsv"
    conda:
        ENVIRONMENT
    threads: STUDY.resources.threads
    resources:
        gpu=GPU,
        mem_mb=growing(STUDY.resources.mem_mb),
        runtime=growing(STUDY.resources.runtime),
    params:
        study=LAYOUT.study,
        seed=STUDY.seed,
        bootstrap=STUDY.evaluation.bootstrap,
        command=body("nonnormal.study.cli.evaluate:fidelity"),
    shell:
        "nonnormal evaluate fidelity {params.study} --run {wildcards.run} --threads {threads} > {log} 2>&1"


rule exchange:
    input:
        data=LAYOUT.data,
        features=LAYOUT.features,
        weights=LAYOUT.weights("{run}"),
        code=sources("nonnormal.study.cli.evaluate:exchange"),
    output:
        LAYOUT.exchange("{run}"),
    log:
        LOGS / "exchange-{run}.log",
    benchmark:
        BENCHMARKS / "exchange-{run}.tsv"
    conda:
        ENVIRONMENT
    threads: STUDY.resources.threads
    resources:
        gpu=GPU,
        mem_mb=growing(STUDY.resources.mem_mb),
        runtime=growing(STUDY.resources.runtime),
    params:
        study=LAYOUT.study,
        seed=STUDY.seed,
        settings=lookup("exchange", within=RESOLVED),
        sampling=settings_of("sampling", "batch_size", "dtype"),
        bootstrap=STUDY.evaluation.bootstrap,
        command=body("nonnormal.study.cli.evaluate:exchange"),
    shell:
        "nonnormal evaluate exchange {params.study} --run {wildcards.run} --threads {threads} > {log} 2>&1"


rule style:
    input:
        data=LAYOUT.data,
        samples=expand(str(LAYOUT.samples("{run}", "{n_steps}")), run=RUNS, n_steps=STUDY.sample_steps),
        code=sources("nonnormal.study.cli.evaluate:style"),
    output:
        LAYOUT.style,
    log:
        LOGS / "style.log",
    benchmark:
        BENCHMARKS / "style.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing(STUDY.resources.mem_mb),
        runtime=growing(STUDY.resources.runtime),
    params:
        study=LAYOUT.study,
        seed=STUDY.seed,
        command=body("nonnormal.study.cli.evaluate:style"),
    shell:
        "nonnormal evaluate style {params.study} --threads {threads} > {log} 2>&1"


rule invariance:
    input:
        code=sources("nonnormal.study.cli.evaluate:invariance"),
    output:
        LAYOUT.invariance("{part}"),
    log:
        LOGS / "invariance-{part}.log",
    benchmark:
        BENCHMARKS / "invariance-{part}.tsv"
    wildcard_constraints:
        part="|".join(INVARIANCE_PARTS),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        study=LAYOUT.study,
        seed=STUDY.seed,
        settings=lookup("invariance", within=RESOLVED),
        command=body("nonnormal.study.cli.evaluate:invariance"),
    shell:
        "nonnormal evaluate invariance {params.study} --part {wildcards.part} > {log} 2>&1"


rule summary:
    input:
        data=LAYOUT.data,
        features=LAYOUT.features,
        parts=LAYOUT.parts(RUNS, DESIGNS, recipe_runs=STUDY.recipe_runs, **STUDY.sections),
        published="paper/references/published.csv",
        code=sources("nonnormal.study.cli.evaluate:summary", "nonnormal.study.cli.show:numbers_of"),
    output:
        summary=report(LAYOUT.summary, caption="../report/summary.rst", category="Tables"),
        provenance=LAYOUT.provenance,
        metrics=LAYOUT.metrics,
    log:
        LOGS / "summary.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        study=LAYOUT.study,
        command=body("nonnormal.study.cli.evaluate:summary", "nonnormal.study.cli.show:numbers_of"),
    shell:
        "nonnormal evaluate summary {params.study} > {log} 2>&1"
