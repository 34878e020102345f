"""One network per run. An interrupted training leaves a checkpoint beside its outputs and goes on from it.

SIGTERM, as a cluster sends it before it takes a machine away, makes it save at once and end with code 75.
"""

# One process a GPU. Without -- torchrun takes --run for an option of its own.
GPUS = STUDY.resources.gpus
TRAIN = f"torchrun --standalone --nproc-per-node={GPUS} --module -- nonnormal.cli" if GPUS > 1 else "nonnormal"


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
    retries: STUDY.resources.retries
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
        settings=lambda wildcards: STUDY.run(wildcards.run).model_dump(mode="json"),
    shell:
        TRAIN + " train {params.study} --run {wildcards.run} --threads {threads} > {log} 2>&1"
