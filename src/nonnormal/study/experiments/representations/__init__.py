"""Representations: networks of other bases, whitenings and component-wise schedules; outpainting with one of them."""

from nonnormal.study.experiment import Experiment, Figure, Job, Table


def _shown(study, layout):
    return [layout.weights(run) for run in study.designs.shown]


EXPERIMENT = Experiment(
    name="representations",
    title="Representation and schedule",
    package=__name__,
    place=4,
    section="designs",
    settings="settings:Representations",
    jobs=(
        Job(
            name="design",
            about="Bits/dim and FID of a network of another representation or schedule.",
            function="measure:measure",
            settings={
                "designs": ("n_images", "n_steps", "flow", "extend"),
                "evaluation": ("n_images", "n_evaluations", "flow_tolerance", "bootstrap"),
                "sampling": ("batch_size", "dtype"),
            },
            runs=lambda study: tuple(study.designs.networks),
            each=True,
        ),
        Job(
            name="extension",
            about="Held-out images completed and continued with the network that designs.extend names.",
            function="measure:extension",
            settings={"designs": ("extend",)},
            inputs=lambda study, layout, run: [layout.data, layout.weights(run)],
            runs=lambda study: (study.designs.extend,),
            when=lambda study: study.designs.extend is not None,
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
            "are generated last. Bottom: what is known of each component at each time, and how many gain at "
            "once.",
        ),
        Figure(
            name="corruption",
            function="figures:drawn_corruption",
            takes=("context",),
            inputs=lambda study, layout: [*_shown(study, layout), layout.data],
            caption="The first held-out image on its way to noise under each design, with the same noise.",
        ),
        Figure(
            name="designs",
            function="figures:designs",
            takes=("summary", "fid", "study.designs.labels"),
            caption="Bits/dim and distance of samples of each network of another representation or schedule. Bars: "
            "95 % intervals over images.",
        ),
        Figure(
            name="extension",
            function="figures:drawn_extension",
            takes=("context",),
            inputs=lambda study, layout: [layout.arrays("extension")],
            when=lambda study: study.designs.extend is not None,
            caption="Held-out images; the same with their right half sampled, given the left one; and continued "
            "beyond the border. What is sampled has a red frame.",
        ),
    ),
    tables=(
        Table(
            name="designs",
            numbers="tables:designs",
            readable="tables:readable_designs",
            takes=("summary", "fid", "study.designs.labels"),
            shows=("fid",),
            caption="Networks of other representations and schedules: components generated at once, bits/dim on "
            "held-out images in several readings, and distance of samples, ± half of the 95 % interval.",
        ),
    ),
)
