"""Ablation: one network with each step in other bases, processes and grids of times, one axis at a time."""

from nonnormal.study.experiment import Experiment, Figure, Job, Table

EXPERIMENT = Experiment(
    name="ablation",
    title="One network, every axis",
    package=__name__,
    place=7,
    section="crossing",
    settings="settings:Ablation",
    jobs=(
        Job(
            name="crossing",
            about="One network sampled and bounded with each step in other bases, processes and grids of times.",
            function="measure:measure",
            settings={
                "crossing": (),
                "sampling": ("batch_size", "dtype"),
                "evaluation": ("bootstrap", "n_evaluations"),
            },
            runs=lambda study: (study.crossing.network(study),),
            arrays=True,
        ),
    ),
    figures=(
        Figure(
            name="crossing",
            function="figures:crossing",
            takes=("summary", "fid"),
            caption="One network with each step in other bases, processes and grids of times, the base first: "
            "distance at the fewest steps, what is left of the step's kurtosis in the noise, and the bound "
            "of each step with itself minus the normal step's. Bars: 95 % intervals.",
        ),
        Figure(
            name="crossing_samples",
            function="figures:drawn_samples",
            takes=("context",),
            inputs=lambda study, layout: [layout.arrays("crossing")],
            caption="Noise of one step in pixels, the state that it leads to, and the image in the end, by step and "
            "basis; the images of a column share their seed.",
        ),
    ),
    tables=(
        Table(
            name="crossing",
            numbers="tables:crossing",
            readable="tables:readable_crossing",
            takes=("summary", "fid"),
            caption="One network with each step, cell by cell, the base first: kurtosis left in the noise; distance "
            "of the normal step at the fewest steps and what others add to it (Δ; *: the interval leaves "
            "out 0). Below: bits/dim by bounds in T steps, likewise.",
        ),
    ),
)
