"""The data set, shared by all studies on it, and the feature network with what it says of the training split."""


rule data:
    output:
        LAYOUT.data,
    log:
        LOGS / "data.log",
    benchmark:
        BENCHMARKS / "data.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=growing(STUDY.dataset.mem_mb),
        runtime=240,  # what a slow mirror may take; a transfer that was cut off is gone on from
    params:
        name=STUDY.data,
        version=RESOLVED["data"],  # beside the name of a data set of one's own, its code
        # By the argument `output` it counts as derived, and is not recorded: where files were fetched is no part of what
        # they are, and a mirror that another study names would make all weights stale. The file's name has the rest.
        source=lambda wildcards, output: json.dumps(lookup("source", within=RESOLVED)),
        code=digest("nonnormal.study.cli.make:data"),
        command=body("nonnormal.study.cli.make:data"),
    shell:
        "nonnormal data {params.name} --source {params.source:q} > {log} 2>&1"


rule features:
    input:
        data=LAYOUT.data,
    output:
        LAYOUT.features,
    log:
        LOGS / "features.log",
    benchmark:
        BENCHMARKS / "features.tsv"
    conda:
        ENVIRONMENT
    threads: STUDY.resources.threads
    resources:
        gpu=GPU,
        mem_mb=growing(max(STUDY.dataset.mem_mb, STUDY.resources.mem_mb)),
        runtime=growing(STUDY.resources.runtime),
    params:
        study=LAYOUT.study,
        seed=STUDY.seed,
        settings=lookup("features", within=RESOLVED),
        code=digest("nonnormal.study.cli.make:features"),
        command=body("nonnormal.study.cli.make:features"),
    shell:
        "nonnormal features {params.study} --threads {threads} > {log} 2>&1"
