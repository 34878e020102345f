"""Samples of each run for each number of steps; image i has the same seed everywhere."""


rule sample:
    input:
        weights=LAYOUT.weights("{run}"),
    output:
        [LAYOUT.samples("{run}", n_steps) for n_steps in STUDY.sample_steps],
    log:
        LOGS / "sample-{run}.log",
    benchmark:
        BENCHMARKS / "sample-{run}.tsv"
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
        settings=settings_of("sampling", "n_images", "nfe", "batch_size", "dtype"),
        code=digest("nonnormal.study.cli.make:sample"),
        command=body("nonnormal.study.cli.make:sample"),
    shell:
        "nonnormal sample {params.study} --run {wildcards.run} --threads {threads} > {log} 2>&1"
