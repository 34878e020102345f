"""Pretrained: a pretrained network, sampled with several steps."""

from nonnormal.study.experiment import Experiment, Figure, Job, Table

EXPERIMENT = Experiment(
    name="pretrained",
    title="A pretrained network",
    package=__name__,
    place=9,
    section="pretrained",
    settings="settings:Pretrained",
    jobs=(
        Job(
            name="pretrained",
            about="A pretrained network sampled with every step of the study.",
            function="measure:measure",
            settings={"pretrained": (), "sampling": ("batch_size",), "evaluation": ("bootstrap",)},
            inputs=lambda study, layout, run: [layout.data, layout.features, layout.pretrained_network],
            arrays=True,
        ),
    ),
    figures=(
        Figure(
            name="pretrained",
            function="figures:pretrained",
            takes=("summary", "fid"),
            caption="A pretrained network, sampled with each step: distance, and style minus that of the normal "
            "step from the same seeds, against the number of steps. Bars: 95 % intervals.",
        ),
        Figure(
            name="pretrained_samples",
            function="figures:pretrained_samples",
            takes=("context",),
            inputs=lambda study, layout: [layout.arrays("pretrained")],
            caption="Samples of a pretrained network, a row for each step and number of network calls; the images "
            "of a column share their seed.",
        ),
    ),
    tables=(
        Table(
            name="pretrained",
            numbers="tables:pretrained",
            readable="tables:readable_pretrained",
            takes=("summary", "study.metric"),
            shows=("study.metric",),
            caption="A pretrained network, by step and network calls: distances and style of its samples, ± half of "
            "the 95 % interval.",
        ),
    ),
    headline="tables:headline",
)
