"""Few steps: the best step for a trained network at few network calls, for its bound and for its samples."""

from nonnormal.study.experiment import Experiment, Figure, Job, Table

EXPERIMENT = Experiment(
    name="few_steps",
    title="Few network calls",
    package=__name__,
    place=8,
    section="few_steps",
    settings="settings:FewSteps",
    jobs=(
        Job(
            name="few-steps",
            about="One run's network with steps that are fitted after training, at few network calls: bounds.",
            function="measure:measure",
            settings={
                "few_steps": (
                    *("choices", "bases", "timesteps", "n_fit", "draws", "fits", "n_bounds"),
                    *("grid_choices", "grid_points", "grid_images", "reach", "nfe", "sampled"),
                )
            },
            inputs=lambda study, layout, run: [layout.data, layout.weights(run)],
            runs=lambda study: study.few_steps.of_runs(study),
            each=True,
            arrays=True,
        ),
        Job(
            name="few-steps-samples",
            about="One run's network sampled at few network calls, with fitted steps and with scaled noise.",
            function="samples:measure",
            settings={
                "few_steps": ("nfe", "sampled", "noise_factors", "step_families", "n_images"),
                "sampling": ("batch_size", "dtype"),
                "evaluation": ("bootstrap",),
            },
            inputs=lambda study, layout, run: [
                *(layout.data, layout.features, layout.weights(run)),
                layout.arrays("few-steps", run),
            ],
            runs=lambda study: study.few_steps.of_runs(study),
            each=True,
            when=lambda study: bool(study.few_steps.nfe),
        ),
        Job(
            name="few-steps-optimum",
            about="The best attainable bound at few timesteps on mixtures of one dimension, without training.",
            function="optimum:measure",
            settings={"few_steps": ("mixtures", "mixture_timesteps", "mixture_steps")},
            inputs=lambda study, layout, run: [],
            when=lambda study: bool(study.few_steps.mixtures),
            gpu=False,
        ),
    ),
    figures=(
        Figure(
            name="few_steps_bounds",
            function="figures:bounds",
            takes=("rows",),
            caption="At few network calls, most of the loss in likelihood is due to the unit step, and a step fitted "
            "after training avoids it: bound against the number of timesteps (left; hollow: times searched by "
            "dynamic programming; bars: 95 % over held-out images and fits), and diffusion term minus the best "
            "attainable one, which is known exactly on a one-dimensional mixture (right).",
        ),
        Figure(
            name="few_steps_families",
            function="figures:families",
            when=lambda study: bool(study.few_steps.mixtures) and len(study.few_steps.mixture_steps) > 1,
            caption="Which true step is best if the model has the best step for each: smallest diffusion term over all "
            "steps of the model, against the number of timesteps, for every family of the true step, on "
            "one-dimensional mixtures whose law of residuals is known.",
        ),
        Figure(
            name="few_steps_samples",
            function="figures:samples",
            takes=("rows", "fid"),
            when=lambda study: bool(study.few_steps.nfe),
            caption="Samples and bounds need different steps: distance against network calls with the unit step and "
            "with fitted ones (left; for each of three or more networks, the step that is best for the others), and "
            "distance with the unit step's noise multiplied by a factor, minus that of the normal unit step, from the "
            "same seeds (right; other families at the fewest calls). Bars: 95 % over networks, or over images for a "
            "single network.",
        ),
    ),
    tables=(
        Table(
            name="few_steps",
            numbers="tables:few_steps",
            readable="tables:readable_few_steps",
            takes=("rows", "fid"),
            caption="Of three or more networks, the best step for samples by number of network calls, and what it "
            "changes; whole bound in bits/dim of held-out images by choice of the step and number of timesteps; last, "
            "distance of samples with the normal unit step, and the differences of other steps to it (Δ; *: the "
            "interval excludes 0).",
        ),
    ),
)
