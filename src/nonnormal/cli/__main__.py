"""`python -m nonnormal.cli`, for torchrun."""

from nonnormal.cli import main

main()
