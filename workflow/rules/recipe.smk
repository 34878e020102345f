"""The complete recipe: processes with and without momentum, sampled and bounded with networks of the study."""


rule recipe:
    input:
        data=LAYOUT.data,
        features=LAYOUT.features,
        weights=LAYOUT.weights("{run}"),
        code=sources("nonnormal.study.cli.evaluate:recipe"),
    output:
        LAYOUT.recipe("{run}"),
    log:
        LOGS / "recipe-{run}.log",
    benchmark:
        BENCHMARKS / "recipe-{run}.tsv"
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
        settings={key: value for key, value in (RESOLVED["recipe"] or {}).items() if key != "networks"},
        sampling=settings_of("sampling", "batch_size", "dtype"),
        evaluation=settings_of("evaluation", "flow_tolerance", "bootstrap", "n_evaluations"),
        command=body("nonnormal.study.cli.evaluate:recipe"),
    shell:
        "nonnormal evaluate recipe {params.study} --run {wildcards.run} --threads {threads} > {log} 2>&1"


rule recipe_law:
    input:
        code=sources("nonnormal.study.cli.evaluate:recipe_law"),
    output:
        LAYOUT.recipe_law,
    log:
        LOGS / "recipe-law.log",
    benchmark:
        BENCHMARKS / "recipe-law.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        study=LAYOUT.study,
        seed=STUDY.seed,
        settings={
            key: value
            for key, value in (RESOLVED["recipe"] or {}).items()
            if key in ("processes", "grids", "steps", "step_samplers", "law_steps", "n_samples")
        },
        command=body("nonnormal.study.cli.evaluate:recipe_law"),
    shell:
        "nonnormal evaluate recipe-law {params.study} > {log} 2>&1"
