"""Convergence: walks and samplers with any step converge in law, without training (structured invariance principle)."""

from nonnormal.study.experiment import Experiment, Figure, Job

EXPERIMENT = Experiment(
    name="convergence",
    title="Convergence in law",
    package=__name__,
    place=3,
    section="convergence",
    settings="settings:Convergence",
    jobs=(
        Job(
            name="convergence",
            about="Convergence in law of walks and samplers with any step, without training.",
            function="measure:measure",
            settings={"convergence": ()},
            inputs=lambda study, layout, run: [],
            gpu=False,
        ),
    ),
    figures=(
        Figure(
            name="convergence",
            function="figures:convergence",
            caption="Distance to the limit law against the number of steps, for every step family: the walk from "
            "data to prior and the sampler with the exact denoiser of a normal mixture (densities on a "
            "grid, no sampling), and the maximum of a path (sampled).",
        ),
        Figure(
            name="boundary",
            function="figures:boundary",
            when=lambda study: bool(study.convergence.heavy_df or study.convergence.stable_alpha),
            caption="A finite variance is necessary and sufficient: distance of a walk's end to its limit against the "
            "number of steps, without sampling (left), and its order by degrees of freedom, with the theoretical order "
            "(df − 2)/2 and a mark where the theorem's condition begins (right).",
        ),
    ),
)
