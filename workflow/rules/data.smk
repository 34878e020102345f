"""The data set, shared by all studies on it, and the feature network that is trained on its labels."""


rule data:
    input:
        code=sources("nonnormal.data"),
    output:
        LAYOUT.data,
    log:
        LOGS / "data.log",
    benchmark:
        BENCHMARKS / "data.tsv"
    conda:
        "../envs/nonnormal.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        name=STUDY.data,
    shell:
        "nonnormal data {params.name} > {log} 2>&1"


rule features:
    input:
        data=LAYOUT.data,
        code=sources("nonnormal.metrics.features"),
    output:
        LAYOUT.features,
    log:
        LOGS / "features.log",
    benchmark:
        BENCHMARKS / "features.tsv"
    conda:
        "../envs/nonnormal.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        study=LAYOUT.study,
        seed=STUDY.seed,
        settings=lookup("features", within=RESOLVED),
    shell:
        "nonnormal features {params.study} > {log} 2>&1"
