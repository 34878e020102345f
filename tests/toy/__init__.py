"""Toy: an experiment from elsewhere, which throws a die. It stands in no list of this project."""

from nonnormal.study.experiment import Experiment, Figure, Job, Table

EXPERIMENT = Experiment(
    name="toy",
    title="A die",
    package=__name__,
    place=20,  # among the others, on the page and in the summary
    section="toy",  # key of a study file that asks for it
    settings="settings:Toy",
    jobs=(
        Job(
            name="throws",
            about="A die thrown several times.",
            function="measure:throws",  # called with a Context; returns rows of the summary
            settings={"toy": ()},  # what it depends on: all of this section
            inputs=lambda study, layout, run: [],  # files that it reads; networks and data where nothing is said
            gpu=False,
        ),
    ),
    figures=(Figure(name="die", function="show:bars", caption="A die has a mean of 3.5."),),
    tables=(Table(name="die", numbers="show:means", readable="show:in_words", caption="Means of throws."),),
)
