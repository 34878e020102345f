"""Step swap: each network sampled with other steps than its own. Can the step be changed after training?"""

from nonnormal.study.experiment import Experiment, Figure, Job

EXPERIMENT = Experiment(
    name="step_swap",
    title="One network, other steps",
    package=__name__,
    place=1,
    section="step_swap",
    settings="settings:StepSwap",
    jobs=(
        Job(
            name="step_swap",
            about="One run's network sampled with every step of the study's section.",
            function="measure:measure",
            settings={
                "step_swap": ("step_families", "nfe", "n_images"),
                "sampling": ("batch_size", "dtype"),
                "evaluation": ("bootstrap",),
            },
            runs=lambda study: study.step_swap.of_runs(study),
            each=True,
        ),
    ),
    figures=(
        Figure(
            name="step_swap",
            function="figures:step_swap",
            takes=("rows", "fid", "study.labels"),
            caption="Distance of samples by network (row) and by the step that it is sampled with (column), and the "
            "difference to the same network's normal step, ± half of the 95 % interval: over images paired by seed "
            "and, for several trainings, over trainings, in quadrature. Shaded if the interval excludes 0.",
        ),
        Figure(
            name="step_swap_style",
            function="figures:step_swap_style",
            takes=("rows", "fid"),
            caption="How far the step's kurtosis orders distance and style of samples, by the number of network calls. "
            "Difference to the normal step from the same seeds, against the excess kurtosis of the "
            "step times the share of it that reaches the network, averaged over the calls. Large marks: mean over "
            "networks, hollow for skewed steps, which Spearman's ρ leaves out; small marks: single networks.",
        ),
    ),
)
