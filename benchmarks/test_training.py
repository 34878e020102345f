"""Training: ten optimiser steps of the default study, network and all, against those of its normal/normal run."""

from pathlib import Path

from nonnormal import data, study, training
from nonnormal.checkpoints import build_denoiser
from nonnormal.recipes import denoiser_recipe, objective

STUDY = Path(__file__).parents[1] / "config" / "digits.yaml"
STEPS = 10


def test_training_step(compare, tmp_path):
    digits = study.load(STUDY)
    images = data.load(digits.data)
    x0 = data.scale(images.train.images, images.levels)

    def trained(name):
        run = digits.run(name)
        recipe = denoiser_recipe(run, digits.dataset, sigma_data=x0.std().item())
        options = run.training.optimisation | {"steps": STEPS, "seed": 0}
        options |= {"checkpoint": tmp_path / "none", "fingerprint": ""}

        def call():
            training.train(build_denoiser(recipe), objective(run, recipe["denoiser"]["sigma_data"]), x0, **options)

        return call

    compare(
        trained("laplace-laplace"),
        trained("normal-normal"),
        what=f"{STEPS} training steps of laplace/laplace, {digits.name}",
        to="the same of normal/normal",
        rounds=20,
        wanted=1.02,
    )
