"""Numbers with intervals: bounds of each network, distances of each run's samples, and the summary of them all."""


rule bounds:
    input:
        data=LAYOUT.data,
        weights=LAYOUT.weights("{run}"),
        code=sources("nonnormal.evaluation"),
    output:
        LAYOUT.bounds("{run}"),
    log:
        LOGS / "bounds-{run}.log",
    benchmark:
        BENCHMARKS / "bounds-{run}.tsv"
    conda:
        "../envs/nonnormal.yaml"
    threads: STUDY.resources.threads
    resources:
        gpu=STUDY.resources.gpus,
        mem_mb=STUDY.resources.mem_mb,
        runtime=STUDY.resources.runtime,
    params:
        study=LAYOUT.study,
        seed=STUDY.seed,
        settings=lookup("evaluation", within=RESOLVED),
    shell:
        "nonnormal evaluate bounds {params.study} --run {wildcards.run} --threads {threads} > {log} 2>&1"


rule fidelity:
    input:
        data=LAYOUT.data,
        features=LAYOUT.features,
        samples=expand(str(LAYOUT.samples("{run}", "{n_steps}")), n_steps=STUDY.sample_steps, allow_missing=True),
        code=sources("nonnormal.evaluation"),
    output:
        LAYOUT.fidelity("{run}"),
    log:
        LOGS / "fidelity-{run}.log",
    benchmark:
        BENCHMARKS / "fidelity-{run}.tsv"
    conda:
        "../envs/nonnormal.yaml"
    threads: 1
    resources:
        mem_mb=STUDY.resources.mem_mb,
        runtime=STUDY.resources.runtime,
    params:
        study=LAYOUT.study,
        seed=STUDY.seed,
        bootstrap=STUDY.evaluation.bootstrap,
    shell:
        "nonnormal evaluate fidelity {params.study} --run {wildcards.run} --threads {threads} > {log} 2>&1"


rule invariance:
    input:
        code=sources("nonnormal.evaluation"),
    output:
        LAYOUT.invariance,
    log:
        LOGS / "invariance.log",
    benchmark:
        BENCHMARKS / "invariance.tsv"
    conda:
        "../envs/nonnormal.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        study=LAYOUT.study,
        seed=STUDY.seed,
        settings=lookup("invariance", within=RESOLVED),
    shell:
        "nonnormal evaluate invariance {params.study} > {log} 2>&1"


rule summary:
    input:
        data=LAYOUT.data,
        features=LAYOUT.features,
        bounds=expand(str(LAYOUT.bounds("{run}")), run=RUNS),
        fidelity=expand(str(LAYOUT.fidelity("{run}")), run=RUNS),
        invariance=[LAYOUT.invariance] if STUDY.invariance else [],
        published="paper/references/published.csv",
        code=sources("nonnormal.tables"),
    output:
        summary=report(LAYOUT.summary, caption="../report/summary.rst", category="Tables"),
        provenance=LAYOUT.provenance,
        metrics=LAYOUT.metrics,
    log:
        LOGS / "summary.log",
    localrule: True
    conda:
        "../envs/nonnormal.yaml"
    params:
        study=LAYOUT.study,
    shell:
        "nonnormal evaluate summary {params.study} > {log} 2>&1"
