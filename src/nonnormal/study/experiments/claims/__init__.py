"""Claims: statements of the source texts, judged by the rows of the whole study."""

from nonnormal.study.experiment import Experiment, Table

EXPERIMENT = Experiment(
    name="claims",
    title="Claims",
    package=__name__,
    place=10,
    tables=(
        Table(
            name="claims",
            numbers="tables:claims_of",
            readable="tables:readable",
            takes=("context",),
            prose=True,
            inputs=lambda layout: ["paper/claims.yaml", *layout.ledger],
            caption="Claims of the source texts, measured on this study. A claim holds if all of the 95 % interval "
            "satisfies the threshold, fails if none of it does, and is undecided otherwise; the table then names the "
            "trainings or images that would decide it. A claim that compares trained networks is judged over "
            "trainings, and is undecided with one. Theorems and arithmetic are not findings. Below: printed numbers, "
            "which are not tested.",
        ),
    ),
)
