"""Toy: a complete experiment outside of the package, which throws a die."""

from nonnormal.study.experiment import Experiment, Figure, Job, Table

EXPERIMENT = Experiment(
    name="toy",
    title="A die",
    package=__name__,
    place=20,  # order on the page and in the summary; experiments of this project have lower numbers
    section="toy",  # key of a study file that asks for it
    settings="settings:Toy",
    jobs=(
        Job(
            name="throws",
            about="A die thrown several times.",
            function="measure:throws",  # module and function in this folder
            settings={"toy": ()},  # what it depends on: all of this section
            inputs=lambda study, layout, run: [],  # files that it reads; if left out: data, features and weights
            gpu=False,
        ),
    ),
    figures=(Figure(name="die", function="show:bars", caption="A die has a mean of 3.5."),),
    tables=(Table(name="die", numbers="show:means", readable="show:in_words", caption="Means of throws."),),
)
