"""A network that existed already: taken over once, then sampled with each step and measured."""


rule pretrained:
    input:
        files=network_files(STUDY.pretrained.path) if STUDY.pretrained and STUDY.pretrained.path else [],
        code=sources("nonnormal.study.cli.make:pretrained"),
    output:
        LAYOUT.pretrained_network,
    log:
        LOGS / "pretrained.log",
    benchmark:
        BENCHMARKS / "pretrained.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing(STUDY.resources.mem_mb),
        runtime=growing(STUDY.resources.runtime),
    params:
        study=LAYOUT.study,
        settings=lookup("pretrained", within=RESOLVED),
        data=STUDY.data_name,
        command=body("nonnormal.study.cli.make:pretrained"),
    shell:
        "nonnormal pretrained {params.study} > {log} 2>&1"


rule evaluate_pretrained:
    input:
        data=LAYOUT.data,
        features=LAYOUT.features,
        network=LAYOUT.pretrained_network,
        code=sources("nonnormal.study.cli.evaluate:pretrained"),
    output:
        rows=LAYOUT.pretrained,
        samples=LAYOUT.pretrained_samples,
    log:
        LOGS / "evaluate-pretrained.log",
    benchmark:
        BENCHMARKS / "evaluate-pretrained.tsv"
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
        settings=lookup("pretrained", within=RESOLVED),
        batch_size=STUDY.sampling.batch_size,
        bootstrap=STUDY.evaluation.bootstrap,
        command=body("nonnormal.study.cli.evaluate:pretrained"),
    shell:
        "nonnormal evaluate pretrained {params.study} --threads {threads} > {log} 2>&1"
