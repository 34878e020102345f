"""Geometry: trajectories of sampling with one network, solvers, the optimal denoiser, paths of other steps."""

from nonnormal.study.experiment import Experiment, Figure, Job, Table

EXPERIMENT = Experiment(
    name="geometry",
    title="Geometry of sampling",
    package=__name__,
    place=5,
    section="geometry",
    settings="settings:Geometry",
    jobs=(
        Job(
            name="geometry",
            about="Trajectories, solvers, the optimal denoiser and the paths of other steps, with one network.",
            function="measure:measure",
            settings={"geometry": (), "sampling": ("batch_size",), "evaluation": ("bootstrap",)},
            runs=lambda study: (study.geometry.network(study),),
            arrays=True,
        ),
    ),
    figures=(
        Figure(
            name="linearity",
            function="figures:linearity",
            caption="Along trajectories, from noise (left) to image (right): distance from the chord; norms; cosine "
            "between the predicted noise and the remaining way. Bands: 95 % over trajectories.",
        ),
        Figure(
            name="denoising",
            function="figures:denoising",
            takes=("summary", "fid"),
            caption="Distance of the states, clipped to grey levels, and of the denoised states to the training "
            "images, along trajectories.",
        ),
        Figure(
            name="solvers",
            function="figures:solvers",
            takes=("summary", "fid"),
            caption="Solvers by network calls: distance to the data, and to the adaptive solution from the same noise.",
        ),
        Figure(
            name="deviation",
            function="figures:deviation",
            caption="Deviation of the network from the optimal denoiser of the training set, along its own "
            "trajectories and along the optimal denoiser's, with the distance to the nearest training "
            "image.",
        ),
        Figure(
            name="projection",
            function="figures:drawn_projection",
            takes=("context",),
            inputs=lambda study, layout: [layout.arrays("geometry")],
            caption="Trajectories in three dimensions, in units of the state: their two principal components across "
            "the chord against the place along it. The axes across are enlarged.",
        ),
        Figure(
            name="ancestral",
            function="figures:ancestral",
            caption="Ancestral paths by step, in coordinates of unit variance, from the same noise as the smooth "
            "path: arc over chord, distance to the smooth path averaged over the way, and at its end. Bars: "
            "95 % over paths.",
        ),
    ),
    tables=(
        Table(
            name="geometry",
            numbers="tables:geometry",
            readable="tables:readable_geometry",
            takes=("summary", "published"),
            caption="Shape of trajectories: means over trajectories ± 95 %, beside published figures of other data "
            "and networks.",
        ),
        Table(
            name="solvers",
            numbers="tables:solvers",
            readable="tables:readable_solvers",
            takes=("summary", "fid"),
            caption="Distance of samples by solver and network calls, all from the same noise.",
        ),
    ),
)
