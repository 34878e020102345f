"""One network with each step in other bases, processes and grids of times."""


rule crossing:
    input:
        data=LAYOUT.data,
        features=LAYOUT.features,
        weights=LAYOUT.weights(STUDY.crossing_run) if STUDY.crossing else [],
        code=sources("nonnormal.study.cli.evaluate:crossing"),
    output:
        rows=LAYOUT.crossing,
        samples=LAYOUT.crossing_samples,
    log:
        LOGS / "crossing.log",
    benchmark:
        BENCHMARKS / "crossing.tsv"
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
        settings=lookup("crossing", within=RESOLVED),
        sampling=settings_of("sampling", "batch_size", "dtype"),
        evaluation=settings_of("evaluation", "bootstrap", "n_evaluations"),
        command=body("nonnormal.study.cli.evaluate:crossing"),
    shell:
        "nonnormal evaluate crossing {params.study} --threads {threads} > {log} 2>&1"
