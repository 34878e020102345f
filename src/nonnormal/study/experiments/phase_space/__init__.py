"""Phase space: processes of the complete recipe, with and without momentum, sampled and bounded."""

from nonnormal.study.experiment import Experiment, Figure, Job, Table

_LAW = ("processes", "grids", "steps", "step_samplers", "law_steps", "n_samples")
_MEASURED = (
    "runs",
    "processes",
    "samplers",
    "grids",
    "nfe",
    "tolerances",
    "steps",
    "step_samplers",
    "step_nfe",
    "n_images",
    "n_bounds",
    "bound_steps",
)

EXPERIMENT = Experiment(
    name="phase_space",
    title="Processes with momentum",
    package=__name__,
    place=6,
    section="recipe",
    settings="settings:PhaseSpace",
    jobs=(
        Job(
            name="recipe-law",
            about="Convergence in law of the processes on a mixture with its exact score, without training.",
            function="measure:law",
            settings={"recipe": _LAW},
            inputs=lambda study, layout, run: [],
            gpu=False,
        ),
        Job(
            name="recipe",
            about="One run's network sampled and bounded in each process.",
            function="measure:measure",
            settings={
                "recipe": _MEASURED,
                "sampling": ("batch_size", "dtype"),
                "evaluation": ("flow_tolerance", "bootstrap", "n_evaluations"),
            },
            runs=lambda study: study.recipe.names(study),
            each=True,
        ),
    ),
    figures=(
        Figure(
            name="phase_space",
            function="figures:drawn_phase_space",
            takes=("context",),
            inputs=lambda study, layout: [],
            caption="Forward paths from three data under each process: position over time (top), position and "
            "momentum with the prior's ellipse (bottom).",
        ),
        Figure(
            name="recipe",
            function="figures:recipe",
            takes=("summary", "fid"),
            caption="Distance of samples against network calls by sampler, a panel a process; networks beside the "
            "first are dashed and hollow. Bars: 95 % bootstrap intervals.",
        ),
        Figure(
            name="recipe_law",
            function="figures:recipe_law",
            caption="Distance at the end of a chain to its law against the number of steps, on a mixture of normals "
            "with its exact score: a panel a process, a colour a step; samplers after the first are dashed.",
        ),
    ),
    tables=(
        Table(
            name="processes",
            numbers="tables:processes_of",
            readable="tables:readable_processes",
            takes=("context",),
            caption="The processes of the recipe: matrices by rows, rate, and the noise level of the observation at "
            "the first time of a chain and at t = 1.",
        ),
        Table(
            name="recipe",
            numbers="tables:recipe_of",
            readable="tables:readable_recipe",
            takes=("context",),
            caption="Distance of samples by process, sampler and network calls, ± half of the 95 % bootstrap "
            "interval, beside published figures of CIFAR-10.",
        ),
        Table(
            name="recipe_bounds",
            numbers="tables:bounds",
            readable="tables:readable_bounds",
            caption="Bits/dim of held-out images by process and bound, ± half of the 95 % interval over images.",
        ),
    ),
)
