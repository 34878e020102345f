"""A pretrained network: taken over once, then sampled with each step and measured."""

from nonnormal.diffusers.files import network_files


rule import_pretrained:
    input:
        files=network_files(STUDY.pretrained.path) if STUDY.pretrained and STUDY.pretrained.path else [],
    output:
        LAYOUT.pretrained_network,
    log:
        LOGS / "import-pretrained.log",
    benchmark:
        BENCHMARKS / "import-pretrained.tsv"
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
        code=digest("nonnormal.study.cli.make:pretrained"),
        command=body("nonnormal.study.cli.make:pretrained"),
    shell:
        "nonnormal pretrained {params.study} > {log} 2>&1"
