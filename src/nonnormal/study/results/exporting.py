"""Check whether a run of a study can be exported as a diffusers pipeline."""

from __future__ import annotations

from nonnormal.study.config.study import Study


def refuse_unexportable(study: Study, name: str) -> None:
    """Refuse a run whose chain diffusers cannot represent.

    Raises:
        ValueError: key, what was found, and why it cannot be a pipeline.
    """
    run, key = study.run(name), study.path(name)
    if run.process.variables > 1:
        reason = "a DDPM pipeline moves images alone, and this process has a momentum, too"
        raise ValueError(f"{key}.process.kind: found {run.process.kind}, which cannot be exported: {reason}")
    if run.process.schedule.by_component:
        reason = "a DDPM scheduler has one noise level for all pixels"
        found = run.process.schedule.kind
        raise ValueError(f"{key}.process.schedule.kind: found {found}, which cannot be exported: {reason}")
    if run.basis.kind != "pixel" or run.basis.whiten:
        which, found = ("kind", run.basis.kind) if run.basis.kind != "pixel" else ("whiten", "true")
        reason = "a DDPM scheduler adds independent noise of one variance to pixels"
        raise ValueError(f"{key}.basis.{which}: found {found}, which cannot be exported: {reason}")


def refuse_own_step(key: str, step: str) -> None:
    """Refuse a step of the user's own in a configuration that others will load.

    Raises:
        ValueError: its name is module:Class.
    """
    if ":" in step:
        raise ValueError(
            f"{key}: found {step}, which cannot be exported: a pipeline that names other code is refused when it is "
            "loaded; give --step the name of a step of this package"
        )
