"""From data set to paper: reads a study, names the targets, leaves the work to the rules.

snakemake --cores all                                        # the default study
snakemake --cores all --configfile config/smoke.yaml         # another one
"""

from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

min_version("9.0")

if not Path(workflow.basedir).samefile(Path.cwd()):  # studies, data and results are found from there
    raise WorkflowError(f"the workflow runs at the top of the project: cd {workflow.basedir}, without --directory")

if not workflow.configfiles:

    configfile: "config/digits.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/sample.smk"
include: "workflow/rules/experiments.smk"
include: "workflow/rules/pretrained.smk"
include: "workflow/rules/paper.smk"


rule all:
    default_target: True
    input:
        [LAYOUT.paper] if RUNS else [],  # it tells of trained networks
        LAYOUT.page,
        LAYOUT.summary,
        FIGURES,
        TABLES,
