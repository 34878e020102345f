"""One network per run. An interrupted training leaves a checkpoint beside its outputs and goes on from it.

SIGTERM, as a cluster sends it before it takes a machine away, makes it save at once and end with code 75. The shell is
replaced by the training: else the signal, which a cluster sends to all processes of a job, would end the shell first,
and with it the job before the training has saved.
"""

# One process a GPU. Without -- torchrun takes --run for an option of its own. SLURM signals two minutes before the end.
TORCHRUN = f"torchrun --standalone --nproc-per-node={GPUS} --shutdown-timeout=110 --module -- nonnormal.study.cli"
LAUNCHER = TORCHRUN if STUDY.resources.gpus > 1 else "nonnormal"
TRAIN = f"exec {LAUNCHER}"


rule train:
    input:
        data=LAYOUT.data,
        start=lambda wildcards: STUDY.initial_weights(wildcards.run) or [],
    output:
        weights=LAYOUT.weights("{run}"),
        log=LAYOUT.log("{run}"),
    log:
        LOGS / "train-{run}.log",
    benchmark:
        BENCHMARKS / "train-{run}.tsv"
    retries: STUDY.resources.retries if workflow.is_main_process else 0  # a job of a cluster would retry within itself
    conda:
        ENVIRONMENT
    threads: STUDY.resources.threads
    resources:
        gpu=GPUS,
        mem_mb=growing(STUDY.resources.mem_mb),
        runtime=STUDY.resources.runtime,  # what one attempt may take: each goes on where the last one was
    params:
        study=LAYOUT.study,
        seed=STUDY.seed,
        settings=lambda wildcards: STUDY.run(wildcards.run).of_weights,
        code=digest("nonnormal.study.cli.make:train"),
        command=body("nonnormal.study.cli.make:train"),
    shell:
        TRAIN + " train {params.study} --run {wildcards.run} --threads {threads} > {log} 2>&1"
