"""Step swap: each network sampled with other steps than its own. May the step be changed after training?"""

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
            takes=("summary", "fid", "labels"),
            caption="Distance of samples by network (row) and by the step that it is sampled with (column), ± half "
            "of the 95 % bootstrap interval. Shaded where it differs from that of the network's normal step "
            "by more than both intervals allow.",
        ),
    ),
)
