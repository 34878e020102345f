"""The geometry of sampling with one network: trajectories, solvers, the optimal denoiser, other steps' paths."""


rule geometry:
    input:
        data=LAYOUT.data,
        features=LAYOUT.features,
        weights=LAYOUT.weights(STUDY.geometry_run) if STUDY.geometry else [],
        code=sources("nonnormal.study.cli.evaluate:geometry"),
    output:
        rows=LAYOUT.geometry,
        trajectories=LAYOUT.trajectories,
    log:
        LOGS / "geometry.log",
    benchmark:
        BENCHMARKS / "geometry.tsv"
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
        settings=lookup("geometry", within=RESOLVED),
        bootstrap=STUDY.evaluation.bootstrap,
        command=body("nonnormal.study.cli.evaluate:geometry"),
    shell:
        "nonnormal evaluate geometry {params.study} --threads {threads} > {log} 2>&1"
