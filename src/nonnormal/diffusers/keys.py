"""Keys of diffusers' configurations, each with the values that this package can use.

diffusers accepts most values unchecked: a `beta_start` of NaN or a misspelt `timestep_spacing` gives odd images, or an
error in the middle of sampling. Here they are refused by key. Uses no class of diffusers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # which pydantic needs before Python 3.12

# Bounds, so that no configuration fills the memory of the machine.
Timesteps = Annotated[int, Field(ge=1, le=1_000_000)]
ImageSize = Annotated[int, Field(ge=1, le=1024)]
ImageSizes = ImageSize | Annotated[list[ImageSize], Field(min_length=2, max_length=2)]
Channels = Annotated[int, Field(ge=1, le=8192)]
Count = Annotated[int, Field(ge=1, le=64)]
BlockTypes = Annotated[list[str], Field(min_length=1, max_length=16)]

Beta = Annotated[float, Field(gt=0, lt=1)]
LastBeta = Annotated[float, Field(gt=0, le=1)]  # 1 leaves no signal, as rescale_betas_zero_snr does


class SchedulerKeys(TypedDict, total=False):
    """Keys of `DDPMScheduler`."""

    __pydantic_config__ = ConfigDict(strict=True, allow_inf_nan=False)

    num_train_timesteps: Timesteps
    beta_start: Beta
    beta_end: Beta
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace"]
    trained_betas: Annotated[list[LastBeta] | None, BeforeValidator(lambda betas: _listed(betas))]
    # Not fixed_large_log: there diffusers takes the square root of a logarithm, which is NaN.
    variance_type: Literal["fixed_small", "fixed_small_log", "fixed_large", "learned", "learned_range"]
    clip_sample: bool
    prediction_type: Literal["epsilon", "sample", "v_prediction"]
    thresholding: bool
    dynamic_thresholding_ratio: Annotated[float, Field(gt=0, le=1)]
    clip_sample_range: Annotated[float, Field(gt=0)]
    sample_max_value: Annotated[float, Field(ge=1)]
    timestep_spacing: Literal["linspace", "leading", "trailing"]
    steps_offset: Annotated[int, Field(ge=0)]
    rescale_betas_zero_snr: bool


class OwnSchedulerKeys(TypedDict, total=False):
    """Keys of `NonNormalScheduler` that `DDPMScheduler` does not have, except the name of the step."""

    __pydantic_config__ = ConfigDict(strict=True, allow_inf_nan=False)

    final_alpha_cumprod: LastBeta


class OtherSchedulerKeys(TypedDict, total=False):
    """Keys that `DDPMScheduler` ignores, of schedulers whose networks or noise levels need not be its own."""

    __pydantic_config__ = ConfigDict(strict=True)

    use_flow_sigmas: Literal[False]
    timestep_type: Literal["discrete"]
    snr_shift_scale: Literal[1]
    predict_epsilon: Literal[True]


class UNetKeys(TypedDict, total=False):
    """Keys of an unconditional `UNet2DModel` that is called with timesteps."""

    __pydantic_config__ = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")

    sample_size: ImageSizes
    in_channels: Channels
    out_channels: Channels
    center_input_sample: bool
    time_embedding_type: Literal["positional", "learned"]  # fourier divides by the timestep, which may be 0
    time_embedding_dim: Channels | None
    freq_shift: Annotated[float, Field(ge=0, le=1)]
    flip_sin_to_cos: bool
    down_block_types: BlockTypes
    mid_block_type: Literal["UNetMidBlock2D"] | None
    up_block_types: BlockTypes
    block_out_channels: Annotated[list[Channels], Field(min_length=1, max_length=16)]
    layers_per_block: Count
    mid_block_scale_factor: Annotated[float, Field(gt=0)]
    downsample_padding: Annotated[int, Field(ge=0, le=1)]
    downsample_type: Literal["conv", "resnet"]
    upsample_type: Literal["conv", "resnet"]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    act_fn: Literal["silu", "swish", "mish", "gelu", "relu"]
    attention_head_dim: Channels | None
    norm_num_groups: Channels
    attn_norm_num_groups: Channels | None
    norm_eps: Annotated[float, Field(gt=0)]
    resnet_time_scale_shift: Literal["default", "scale_shift"]
    add_attention: bool
    class_embed_type: None
    num_class_embeds: None
    num_train_timesteps: Timesteps | None
    # Written by diffusers' EMAModel; they do not change the network.
    decay: Any
    min_decay: Any
    optimization_step: Any
    update_after_step: Any
    use_ema_warmup: Any
    inv_gamma: Any
    power: Any


class OwnUNetKeys(TypedDict, total=False):
    """Arguments of this project's `UNet`."""

    __pydantic_config__ = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")

    in_channels: Channels
    out_channels: Channels
    image_size: ImageSizes
    widths: Annotated[list[Channels], Field(min_length=1, max_length=16)]
    layers_per_block: Count
    attention: list[Annotated[int, Field(ge=0, lt=16)]]
    middle_attention: bool
    dropout: Annotated[float, Field(ge=0, lt=1)]
    groups: Channels


class DenoiserKeys(TypedDict, total=False):
    """Arguments of a `NetworkDenoiser` beside its network and its components."""

    __pydantic_config__ = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")

    parametrisation: Literal["edm", "eps", "v", "x0"]
    sigma_data: Annotated[float, Field(gt=0)] | None
    fourier: list[Annotated[int, Field(ge=0, le=12)]]
    sees_levels: bool


class NoisePredictorKeys(TypedDict):
    """Keys of a `NoisePredictor`."""

    __pydantic_config__ = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")

    sample_size: ImageSizes
    in_channels: Channels
    out_channels: Channels
    network: OwnUNetKeys
    denoiser: DenoiserKeys
    log_snrs: Annotated[list[Annotated[float, Field(ge=-170, le=170)]], Field(min_length=1, max_length=1_000_000)]
    mean: list[Any] | None
    std: list[Any] | None


def refuse_unusable(config: Mapping[str, Any], keys: type) -> None:
    """Refuses a configuration with a value that cannot be used.

    Args:
        config: keys that begin with "_" belong to diffusers and are not checked.
        keys: one of the classes of this module.

    Raises:
        ValueError: key, what was found, what is allowed.
    """
    public = {key: value for key, value in config.items() if not key.startswith("_")}
    try:
        TypeAdapter(keys).validate_python(public)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True)
        path = _path(details[0]["loc"], public)
        key, found = ".".join(path), _shown(details[0]["input"] if len(path) > 1 else public.get(path[0]))
        if details[0]["type"] == "missing":
            raise ValueError(f"{key}: missing") from None
        if details[0]["type"] == "extra_forbidden":
            raise ValueError(f"{key}: unknown key, found {found}") from None
        same = [detail for detail in details if _path(detail["loc"], public) == path]
        allowed = " or ".join(dict.fromkeys(map(_allowed, same)))
        raise ValueError(f"{key} must be {allowed}; found {found}") from None


def _path(location: tuple, config: Any) -> tuple[str, ...]:
    """Names of the keys within keys that a location of pydantic begins with."""
    if not (location and isinstance(location[0], str) and isinstance(config, Mapping)):
        return ()
    return (location[0], *_path(location[1:], config.get(location[0])))


def _allowed(detail: Mapping[str, Any]) -> str:
    """The allowed values, as a text that follows "must be"."""
    place = f" at item {detail['loc'][-1]}" if isinstance(detail["loc"][-1], int) else ""
    if detail["type"] == "literal_error":
        return "one of " + detail["ctx"]["expected"].replace(" or ", ", ").replace("'", "") + place
    return detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ") + place


def _shown(value: Any) -> str:
    """The value, cut where it is long."""
    found = repr(value)
    return found if len(found) < 80 else f"{found[:77]}..."


def _listed(betas: Any) -> Any:
    """An array as a list; anything else as it is."""
    return betas.tolist() if hasattr(betas, "tolist") else betas
