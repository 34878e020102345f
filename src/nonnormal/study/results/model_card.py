"""Model card of an exported network: description, usage and conditions, as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nonnormal.files import read_tensors, sha256_of
from nonnormal.study.config.study import Study
from nonnormal.study.results import provenance
from nonnormal.study.results.paths import Layout
from nonnormal.study.results.records import read_record, record_path

_CARD = """\
---
library_name: diffusers
pipeline_tag: unconditional-image-generation
tags: [nonnormal, diffusers, unconditional-image-generation]
---

# {title}

An unconditional diffusion model of {shape} images, trained on `{data}`, as a `DDPMPipeline` of
diffusers whose sampler adds {step} noise of unit variance between its {timesteps} timesteps.

```python
import nonnormal.diffusers  # before from_pretrained: diffusers loads no class from a module that is not imported
from diffusers import DDPMPipeline

pipe = DDPMPipeline.from_pretrained({folder})
images = pipe(batch_size=4, num_inference_steps={calls}).images
```

`num_inference_steps` is the number of network calls, 1 to {timesteps}. To sample with another step than {step}:

```python
from nonnormal.diffusers import NonNormalScheduler

pipe.scheduler = NonNormalScheduler.from_config(pipe.scheduler.config, step_distribution="normal")
```

The network predicts the noise from the exact log-SNR of a timestep. When diffusers loads the pipeline, it warns that it
expected a `UNet2DModel`; this warning can be ignored. From the same noise the pipeline draws the same images as
`nonnormal.samplers.sample_ancestral`.

## Conditions

| | |
|---|---|
{rows}

All settings on which the weights depend:

```json
{settings}
```
"""


def model_card(study: Study, layout: Layout, run: str, folder: Path, step: str, timesteps: int) -> str:
    """The card of a run's network, exported to `folder` with this step and number of timesteps."""
    weights = layout.weights(run)
    header, digest = read_tensors(weights)[1], sha256_of(weights)
    settings = study.run(run)
    training, schedule = settings.training, settings.process.schedule
    data = header.get("data", {})
    log_snr = f"{settings.process.kind}, log-SNR {schedule.log_snr_max:g} to {schedule.log_snr_min:g} ({schedule.kind})"
    conditions = {
        "study, run": f"`{study.name}`, `{run}`",
        "data": f"`{study.data}`, training split; SHA-256 of the file {data.get('sha256', 'unknown')}",
        "steps in training": f"{settings.q} (true process), {settings.p} (model)",
        "process": log_snr if settings.process.kind == "vp" else settings.process.kind,
        "loss": f"{training.weighting}, {training.loss}; T = {training.timesteps}",
        "training": f"{training.iterations} iterations of {training.batch_size} images, averaged weights "
        f"(decay {training.ema_decay:g})",
        "step in sampling": step,
        "seeds": f"study {study.seed}, training {training.seed}, derived {study.train_seed(run)}",
        "weights": f"SHA-256 {digest} in the study",
        "trained by": _made(weights, digest),
        "exported by": _code(provenance.describe()),
    }
    return _CARD.format(
        title=f"{study.title or study.name}: {run}",
        shape="×".join(map(str, study.dataset.shape)),
        data=study.data,
        step=step,
        timesteps=timesteps,
        calls=min(timesteps, study.headline_steps),
        folder=json.dumps(folder.name),
        rows="\n".join(f"| {name} | {value} |" for name, value in conditions.items()),
        settings=json.dumps({k: v for k, v in header.items() if k != "recipe"}, indent=2, sort_keys=True),
    )


def _made(weights: Path, digest: str) -> str:
    """Code and machine that trained the weights, if they were recorded."""
    if not record_path(weights, digest).is_file():
        return "unknown: the weights have no record"
    record = read_record(weights, digest)
    return f"`{record['command']}`, {_code(record)}, {record['ended']}, {record['hardware']}"


def _code(made: Mapping[str, Any]) -> str:
    """Revision and main packages."""
    packages = ", ".join(f"{name} {made['packages'][name]}" for name in ("torch", "diffusers"))
    return f"revision {provenance.revision_of(made)}, {packages}"
