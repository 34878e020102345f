"""Networks of other representations and schedules."""


rule design:
    input:
        data=LAYOUT.data,
        features=LAYOUT.features,
        weights=LAYOUT.weights("{run}"),
        code=sources("nonnormal.study.cli.evaluate:design"),
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
        evaluation=settings_of("evaluation", "n_images", "n_evaluations", "flow_tolerance", "bootstrap"),
        sampling=settings_of("sampling", "batch_size", "dtype"),
        command=body("nonnormal.study.cli.evaluate:design"),
    shell:
        "nonnormal evaluate design {params.study} --run {wildcards.run} --threads {threads} > {log} 2>&1"


rule extend:
    input:
        data=LAYOUT.data,
        weights=LAYOUT.weights(STUDY.designs.extend) if STUDY.designs and STUDY.designs.extend else [],
        code=sources("nonnormal.study.cli.make:extend"),
    output:
        LAYOUT.extension,
    log:
        LOGS / "extend.log",
    benchmark:
        BENCHMARKS / "extend.tsv"
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
        command=body("nonnormal.study.cli.make:extend"),
    shell:
        "nonnormal extend {params.study} --threads {threads} > {log} 2>&1"
