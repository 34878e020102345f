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
        mem_mb=STUDY.dataset.mem_mb,
        runtime=240,  # what a slow mirror may take; a transfer that was cut off is gone on from
    params:
        name=STUDY.data,
        source=json.dumps(lookup("source", within=RESOLVED)),
    shell:
        "nonnormal data {params.name} --source {params.source:q} > {log} 2>&1"


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
