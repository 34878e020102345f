"""One network per run. An interrupted training leaves a checkpoint beside its outputs and goes on from it."""


rule train:
    input:
        data=LAYOUT.data,
        code=sources("nonnormal.training", "nonnormal.recipes"),
    output:
        weights=LAYOUT.weights("{run}"),
        log=LAYOUT.log("{run}"),
    log:
        LOGS / "train-{run}.log",
    benchmark:
        BENCHMARKS / "train-{run}.tsv"
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
        settings=lookup("runs/{run}", within=RESOLVED),
    shell:
        "nonnormal train {params.study} --run {wildcards.run} --threads {threads} > {log} 2>&1"
