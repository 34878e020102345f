"""Pairs: the runs of a study, each a pair of steps q/p, compared by bounds, distances and style."""

from nonnormal.study.experiment import OVER, Experiment, Figure, Job, Table

_BARS = f"Bars are 95 % intervals {OVER}; faint marks are trainings."


def _sampled(study, layout, run):
    """The samples of a training, and of the normal pair's that it is compared with."""
    runs = dict.fromkeys((run, study.baseline(run) or run))
    return [layout.samples(each, n_steps) for each in runs for n_steps in study.sample_steps]


EXPERIMENT = Experiment(
    name="pairs",
    title="Pairs of steps",
    package=__name__,
    place=0,
    jobs=(
        Job(
            name="bounds",
            about="Bits/dim of the held-out split: native, normal-limit and continuous-time bounds, flow likelihood.",
            function="bounds:measure",
            settings={"evaluation": ("n_images", "timesteps", "n_evaluations", "flow_tolerance")},
            inputs=lambda study, layout, run: [layout.data, layout.weights(run)],
            runs=lambda study: study.trainings(),
            each=True,
            arrays=True,
        ),
        Job(
            name="fidelity",
            about="FID, KID, precision, recall and style of a run's samples, and paired differences in style.",
            function="samples:measure",
            settings={"evaluation": ("bootstrap",)},
            inputs=lambda study, layout, run: [layout.data, layout.features, *_sampled(study, layout, run)],
            runs=lambda study: study.trainings(),
            each=True,
        ),
        Job(
            name="held_out",
            about="FID, KID, precision, recall and style of the held-out images in place of samples.",
            function="samples:held_out",
            settings={"evaluation": ("bootstrap",)},
            inputs=lambda study, layout, run: [layout.data, layout.features],
        ),
    ),
    figures=(
        Figure(
            name="samples",
            function="figures:samples",
            takes=("context",),
            inputs=lambda study, layout: [
                layout.data,
                *(layout.samples(run, study.headline_steps) for run in study.runs),
            ],
            caption="Training images, and samples of each pair q/p (its first training), one row per pair; the samples "
            "of a column share their seed. Ancestral sampling with steps from p, averaged weights, no selection.",
        ),
        Figure(
            name="steps",
            function="figure_steps:number_of_steps",
            takes=("summary", "fid", "study.labels", "trainings"),
            caption="Fréchet distance of samples, normal-limit bound and native bound against the number of steps, "
            f"which is the number of network calls. {_BARS}",
        ),
        Figure(
            name="style",
            function="figure_style:style_differences",
            takes=("summary", "study.labels", "trainings"),
            caption="Differences in style from the same seeds, each pair minus normal/normal, training by training. "
            f"{_BARS}",
        ),
        Figure(
            name="training",
            function="figures:training",
            takes=("context",),
            inputs=lambda study, layout: [layout.log(run) for run in study.trainings()],
            caption="Training loss without its constant K(0), and gradient norm before clipping, against optimiser "
            "steps; further trainings of a pair are faint. The losses of different pairs have different scales by "
            "design.",
        ),
        Figure(
            name="losses",
            function="figures:losses",
            takes=("context",),
            inputs=lambda study, layout: [],
            caption="Shift divergence K(d) of each pair q/p: the cost per coordinate in the bound if the mean of a "
            "step is wrong by d standard deviations, with its constant K(0) (left), and without it in the range of "
            "training (right).",
        ),
        Figure(
            name="cost",
            function="figure_cost:cost",
            takes=("summary", "study.labels", "trainings"),
            caption="Left: native diffusion term without its constant, over the normal one on the same states. "
            f"Right: native bound, limit marginals. {_BARS}",
        ),
    ),
    tables=(
        Table(
            name="pairs",
            numbers="tables:pairs",
            readable="tables:readable_pairs",
            takes=("summary", "published", "study.metric", "training_steps", "study.headline_steps"),
            shows=("study.metric", "study.labels"),
            caption="Bits/dim on held-out images and distances of samples for each pair q/p, ± half of the 95 % "
            f"interval {OVER}. CIFAR-10 figures are published ones, for another data set and other networks.",
        ),
        Table(
            name="conventions",
            numbers="table_conventions:differences",
            readable="table_conventions:readable_differences",
            takes=("summary", "published", "training_steps"),
            caption="Native bits/dim of each pair minus that of normal/normal, under the exact loss and under the "
            "two readings of the paper, with the constant K(0) counted never, once and at every step, "
            f"beside the difference that the paper prints for CIFAR-10; ± half of the 95 % interval {OVER}.",
        ),
        Table(
            name="cost",
            numbers="table_costs:costs",
            readable="table_costs:readable_costs",
            caption="Curvature K''(0) of each pair, for q = p the Fisher information, beside the measured ratio at "
            "the largest number of steps; K(0) beside the growth of the native bound per step; ± half of the 95 % "
            f"interval {OVER}.",
        ),
    ),
    headline="tables:headline",
)
