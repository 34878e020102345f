"""The data set, shared by all studies on it, and the feature network with what it says of the training split."""

# No parameter: where the files were fetched is no part of what they are, and if it were, a mirror that another study
# names would make the data set anew, and all that was made from it. What of it changes the images is in the file's name.
SOURCE = json.dumps(lookup("source", within=RESOLVED))


rule data:
    input:
        code=sources("nonnormal.cli.make:data"),
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
        file=STUDY.data_name,
        command=body("nonnormal.cli.make:data"),
    shell:
        "nonnormal data {params.name} --source {SOURCE:q} > {log} 2>&1"


rule features:
    input:
        data=LAYOUT.data,
        code=sources("nonnormal.cli.make:features"),
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
        command=body("nonnormal.cli.make:features"),
    shell:
        "nonnormal features {params.study} --threads {threads} > {log} 2>&1"
