"""Networks of other representations and schedules."""


rule design:
    input:
        data=LAYOUT.data,
        features=LAYOUT.features,
        weights=LAYOUT.weights("{run}"),
        code=sources("nonnormal.evaluation.designs"),
    output:
        LAYOUT.design("{run}"),
    log:
        LOGS / "design-{run}.log",
    benchmark:
        BENCHMARKS / "design-{run}.tsv"
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
        settings=STUDY.designs.model_dump(exclude={"runs"}, mode="json") if STUDY.designs else None,
        evaluation=lookup("evaluation", within=RESOLVED),
        sampling=lookup("sampling", within=RESOLVED),
    shell:
        "nonnormal evaluate design {params.study} --run {wildcards.run} --threads {threads} > {log} 2>&1"


rule extend:
    input:
        data=LAYOUT.data,
        weights=LAYOUT.weights(STUDY.designs.extend) if STUDY.designs and STUDY.designs.extend else [],
        code=sources("nonnormal.evaluation.designs"),
    output:
        LAYOUT.extension,
    log:
        LOGS / "extend.log",
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
    shell:
        "nonnormal extend {params.study} --threads {threads} > {log} 2>&1"
