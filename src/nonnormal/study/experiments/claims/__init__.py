"""Claims: what the source texts say, judged by the rows of the whole study."""

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
            caption="What the source texts claim, measured on this study. A claim holds if all of the 95 % interval "
            "satisfies the threshold, fails if none of it does, and is undecided otherwise: then what would decide it "
            "is named. A claim that compares trained networks is judged over trainings, and is undecided with one. "
            "Theorems and arithmetic are no findings. Below: printed numbers, which are not tested.",
        ),
    ),
)
