"""Few steps: which step a trained network should have at few network calls, for its bound and for its samples."""

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
            about="One run's network sampled at few network calls, with fitted steps and with more or less noise.",
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
            caption="Most of what few network calls cost in likelihood is the step's, and a step fitted after training "
            "saves it: bound against the number of timesteps (left; hollow: times searched by "
            "dynamic programming; bars: 95 % over held-out images and fits), and diffusion term above the best "
            "attainable one, which is known exactly on a mixture of one dimension (right).",
        ),
        Figure(
            name="few_steps_families",
            function="figures:families",
            when=lambda study: bool(study.few_steps.mixtures) and len(study.few_steps.mixture_steps) > 1,
            caption="Which true step is best if the model's is the best for each: least diffusion term that any step "
            "of the model attains, against the number of timesteps, for every family of the true step, on mixtures of "
            "one dimension whose law of residuals is known.",
        ),
        Figure(
            name="few_steps_samples",
            function="figures:samples",
            takes=("summary", "fid"),
            when=lambda study: bool(study.few_steps.nfe),
            caption="Samples and bounds ask for different steps: distance against network calls with the unit step and "
            "with fitted ones (left), and what a factor on the unit step's noise adds to the distance of the normal "
            "step, same seeds (right; other families at the fewest calls). Bars: 95 % over networks, of a single "
            "one over images.",
        ),
    ),
    tables=(
        Table(
            name="few_steps",
            numbers="tables:few_steps",
            readable="tables:readable_few_steps",
            takes=("summary", "fid"),
            caption="Whole bound in bits/dim of held-out images by choice of the step and number of timesteps; below, "
            "distance of samples with the normal unit step, and what other steps add to it (Δ; *: the interval leaves "
            "out 0).",
        ),
    ),
)
