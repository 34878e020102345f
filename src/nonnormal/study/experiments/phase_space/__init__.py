"""Phase space: processes of the complete recipe, with and without momentum: samples and bounds."""

from nonnormal.study.experiment import OVER, Experiment, Figure, Job, Table

_LAW = ("processes", "grids", "step_families", "step_samplers", "law_timesteps", "n_samples")
_MEASURED = (
    "runs",
    "processes",
    "samplers",
    "grids",
    "nfe",
    "comparisons",
    "tolerances",
    "step_families",
    "step_samplers",
    "step_nfe",
    "n_images",
    "n_bounds",
    "bound_timesteps",
)

EXPERIMENT = Experiment(
    name="phase_space",
    title="Processes with momentum",
    package=__name__,
    place=6,
    section="phase_space",
    settings="settings:PhaseSpace",
    jobs=(
        Job(
            name="phase_space-law",
            about="Convergence in law of the processes on a mixture with its exact score, without training.",
            function="measure:law",
            settings={"phase_space": _LAW},
            inputs=lambda study, layout, run: [],
            gpu=False,
        ),
        Job(
            name="phase_space",
            about="One run's network sampled and bounded in each process.",
            function="measure:measure",
            settings={
                "phase_space": _MEASURED,
                "sampling": ("batch_size", "dtype"),
                "evaluation": ("flow_tolerance", "bootstrap", "n_evaluations"),
            },
            runs=lambda study: study.phase_space.names(study),
            each=True,
        ),
    ),
    figures=(
        Figure(
            name="phase_space_paths",
            function="figures:drawn_paths",
            takes=("context",),
            inputs=lambda study, layout: [],
            caption="Forward paths from three data under each process: position over time (top), position and "
            "momentum with the prior's ellipse (bottom).",
        ),
        Figure(
            name="phase_space",
            function="figures:phase_space",
            takes=("summary", "fid"),
            caption="Distance of samples against network calls by sampler, one panel per process; networks after the "
            "first are dashed and hollow. Bars: 95 % intervals "
            f"{OVER}.",
        ),
        Figure(
            name="phase_space_law",
            function="figures:phase_space_law",
            caption="Distance of samples at the end of a chain to the exact law there, against the number of steps, on "
            "a mixture of normals with its exact score: one panel per process, one colour per step; samplers after the "
            "first are dashed.",
        ),
    ),
    tables=(
        Table(
            name="processes",
            numbers="tables:processes_of",
            readable="tables:readable_processes",
            takes=("context",),
            caption="The processes: matrices by rows, rate, and noise level of the observation at the first time of a "
            "chain and at t = 1.",
        ),
        Table(
            name="phase_space",
            numbers="tables:phase_space_of",
            readable="tables:readable_phase_space",
            takes=("context",),
            caption="Distance of samples by process, sampler and network calls, ± half of the 95 % interval "
            f"{OVER}, beside published figures of CIFAR-10.",
        ),
        Table(
            name="phase_space_bounds",
            numbers="tables:bounds",
            readable="tables:readable_bounds",
            caption=f"Bits/dim of held-out images by process and bound, ± half of the 95 % interval {OVER}.",
        ),
    ),
)
