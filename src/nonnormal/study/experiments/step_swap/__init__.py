"""Step swap: each network sampled with other steps than its own. May the step be changed after training?"""

from nonnormal.study.experiment import Experiment, Figure, Job

EXPERIMENT = Experiment(
    name="step_swap",
    title="One network, other steps",
    package=__name__,
    place=1,
    section="exchange",
    settings="settings:StepSwap",
    jobs=(
        Job(
            name="exchange",
            about="One run's network sampled with every step of the study's section.",
            function="measure:measure",
            settings={"exchange": (), "sampling": ("batch_size", "dtype"), "evaluation": ("bootstrap",)},
            runs=lambda study: tuple(study.runs),
            each=True,
        ),
    ),
    figures=(
        Figure(
            name="exchange",
            function="figures:exchange",
            takes=("summary", "fid", "labels"),
            caption="Distance of samples by network (row) and by the step that it is sampled with (column), ± half "
            "of the 95 % bootstrap interval. Shaded where it differs from that of the network's normal step "
            "by more than both intervals allow.",
        ),
    ),
)
