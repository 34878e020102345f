"""Ablation: one network with each step in other bases, processes and grids of times, one axis at a time."""

from nonnormal.study.experiment import Experiment, Figure, Job, Table

EXPERIMENT = Experiment(
    name="ablation",
    title="One network, every axis",
    package=__name__,
    place=7,
    section="ablation",
    settings="settings:Ablation",
    jobs=(
        Job(
            name="ablation",
            about="One network sampled and bounded with each step in other bases, processes and grids of times.",
            function="measure:measure",
            settings={
                "ablation": (),
                "sampling": ("batch_size", "dtype"),
                "evaluation": ("bootstrap", "n_evaluations"),
            },
            runs=lambda study: (study.ablation.network(study),),
            arrays=True,
        ),
    ),
    figures=(
        Figure(
            name="ablation",
            function="figures:ablation",
            takes=("summary", "fid"),
            caption="One network with each step in other bases, processes and grids of times, the base first: "
            "distance at the fewest steps, share of the step's kurtosis that is left in the noise, and bound "
            "of each step with itself minus the normal step's. Bars: 95 % intervals.",
        ),
        Figure(
            name="ablation_samples",
            function="figures:drawn_samples",
            takes=("context",),
            inputs=lambda study, layout: [layout.arrays("ablation")],
            caption="Noise of one step in pixels, the state after this step, and the final image, by step and basis; "
            "the images of a column share their seed.",
        ),
    ),
    tables=(
        Table(
            name="ablation",
            numbers="tables:ablation",
            readable="tables:readable_ablation",
            takes=("summary", "fid"),
            caption="One network with each step, cell by cell, the base first: kurtosis left in the noise; distance "
            "of the normal step at the fewest steps, and the differences of other steps to it (Δ; *: the interval "
            "excludes 0). Below: bits/dim of bounds in T steps, in the same form.",
        ),
    ),
)
