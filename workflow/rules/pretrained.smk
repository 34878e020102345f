"""A network that existed already: taken over once, then sampled with each step and measured."""


rule pretrained:
    input:
        code=sources("nonnormal.pretrained"),
    output:
        LAYOUT.pretrained_network,
    log:
        LOGS / "pretrained.log",
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
    shell:
        "nonnormal pretrained {params.study} > {log} 2>&1"


rule evaluate_pretrained:
    input:
        data=LAYOUT.data,
        features=LAYOUT.features,
        network=LAYOUT.pretrained_network,
        code=sources("nonnormal.evaluation.pretrained"),
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
    shell:
        "nonnormal evaluate pretrained {params.study} --threads {threads} > {log} 2>&1"
