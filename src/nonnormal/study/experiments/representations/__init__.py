"""Representations: networks of other bases, whitenings and component-wise schedules; outpainting with one of them."""

from nonnormal.study.experiment import OVER, Experiment, Figure, Job, Table


def _shown(study, layout):
    return [layout.weights(run) for run in study.representations.shown]


EXPERIMENT = Experiment(
    name="representations",
    title="Representation and schedule",
    package=__name__,
    place=4,
    section="representations",
    settings="settings:Representations",
    jobs=(
        Job(
            name="representations",
            about="Bits/dim and FID of a network in another representation or schedule.",
            function="measure:measure",
            settings={
                "representations": ("n_images", "nfe", "flow", "outpaint"),
                "evaluation": ("n_images", "n_evaluations", "flow_tolerance", "bootstrap"),
                "sampling": ("batch_size", "dtype"),
            },
            runs=lambda study: study.trainings(study.representations.networks),
            each=True,
        ),
        Job(
            name="outpainting",
            about="Held-out images inpainted and outpainted with the network that representations.outpaint names.",
            function="measure:outpainting",
            settings={"representations": ("outpaint",)},
            inputs=lambda study, layout, run: [layout.data, layout.weights(run)],
            runs=lambda study: (study.representations.outpaint,),
            when=lambda study: study.representations.outpaint is not None,
            rows=False,
            arrays=True,
        ),
    ),
    figures=(
        Figure(
            name="order",
            function="figures:drawn_order",
            takes=("context",),
            inputs=_shown,
            caption="The order of components in each design. Top: log-SNR of each component over time, light lines "
            "are generated last. Bottom: how much is known of each component at each time, and how many components "
            "gain at once.",
        ),
        Figure(
            name="corruption",
            function="figures:drawn_corruption",
            takes=("context",),
            inputs=lambda study, layout: [*_shown(study, layout), layout.data],
            caption="The first held-out image on its way to noise under each design, with the same noise.",
        ),
        Figure(
            name="representations",
            function="figures:representations",
            takes=("summary", "fid", "study.representations.labels", "trainings"),
            caption="Bits/dim and distance of samples of each network of another representation or schedule. Bars: "
            f"95 % intervals {OVER}; faint marks are trainings.",
        ),
        Figure(
            name="outpainting",
            function="figures:drawn_outpainting",
            takes=("context",),
            inputs=lambda study, layout: [layout.arrays("outpainting")],
            when=lambda study: study.representations.outpaint is not None,
            caption="Held-out images; the same with the right half sampled, given the left half; and outpainted "
            "beyond the border. Sampled parts have a red frame.",
        ),
    ),
    tables=(
        Table(
            name="representations",
            numbers="tables:representations",
            readable="tables:readable_representations",
            takes=("summary", "fid", "study.representations.labels"),
            shows=("fid",),
            caption="Networks of other representations and schedules: components generated at once, bits/dim on "
            "held-out images by several bounds, and distance of samples, ± half of the 95 % interval "
            f"{OVER}.",
        ),
    ),
)
