"""`python -m nonnormal.study.cli`, for torchrun."""

from nonnormal.study.cli import main

main()
