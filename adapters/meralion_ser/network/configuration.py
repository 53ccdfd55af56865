"""Configuration of the proposed model: the released network and the small-data variants are values of one config."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

from transformers import PreTrainedConfig

from bench.errors import UsageError

RELEASED_LABELS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
"""Order of the released checkpoint's logits (ARCHITECTURE.md)."""

ENCODERS = ("whisper", "backbone", "none")
Pooling = Literal["hybrid", "attentive", "mean"]
FrameRule = Literal["all", "valid", "own"]
InitScheme = Literal["torch", "few_clips"]


def log_spaced_kernels(longest: int, count: int) -> list[int]:
    """Return ``count`` whole kernel lengths, log-spaced from 1 to ``longest`` and cut to integers.

    Kernel i is the largest k with k^(count−1) ≤ longest^i, found in integers: ``int(16 ** (3 / 3))`` and
    ``torch.logspace(...).int()`` come out as 15 under some roundings, and the released tensor has 16 taps.

    >>> log_spaced_kernels(16, 4)
    [1, 2, 6, 16]
    """
    if count == 1:
        return [longest]
    kernels = []
    for step in range(count):
        kernel = 1
        while (kernel + 1) ** (count - 1) <= longest**step:
            kernel += 1
        kernels.append(kernel)
    return kernels


class MeralionSerConfig(PreTrainedConfig):  # type: ignore[misc]
    """What network to build. The defaults are the released one's head on a Whisper encoder.

    Args:
        encoder: ``whisper``; ``backbone``, an encoder of the wav2vec 2.0 family; or ``none`` when frames (log-mel, or another
            encoder's output) come in directly.
        whisper: fields of ``transformers.WhisperConfig``; only the encoder's are used.
        backbone: the fields of the other encoder's config, ``model_type`` among them.
        input_dim: without encoder, the size of a frame.
        mixed_states: without encoder, how many hidden states lie side by side in a frame of ``input_dim``; above 1, their mean
            under learned softmax weights goes on (Yang et al. 2021, SUPERB).
        frame_stack: without encoder, how many neighbouring frames are joined into one.
        layer: which of the encoder's hidden states the head sees, counted as transformers does (0: after the positional
            embedding, k: output of block k, the last: after the final layer norm). None: the last.
        standardise: subtract a mean and divide by a standard deviation per feature, kept as buffers.
        frames: ``all`` pools over every frame, padding included (as released); ``valid`` lets the encoder see the padded window
            and the head only the clip's frames; ``own`` hides the padding from encoder and head alike.
        channels: width of the ECAPA blocks.
        embedding: size of a clip's embedding; None: half of ``channels``.
        dilations: of the ECAPA blocks, one each.
        res2_scale: into how many parts a Res2 block splits its channels.
        se_reduction: by how much squeeze-excitation narrows.
        channels_per_group: for the group norms; None: min(32, channels) groups (as released).
        kernel_sizes: of the multi-resolution pooling.
        pooling_channels_per_group: for the group norms of the pooling.
        segment_levels: levels of the hierarchical pooling.
        pooling: ``hybrid`` (as released: several resolutions, three levels of attention), ``attentive`` (one softmax over
            frames) or ``mean``.
        dropout: of the projection and the embedding, 0..1.
        embedding_dropout: between the two layers of the embedding, 0..1.
        init_scheme: ``torch`` (library defaults) or ``few_clips``: orthogonal weights and zero biases in the pooling, embedding
            and output linears, zero last group-norm weight per block (UA .57 → .86 on 339 clips: research notes).
        lora_rank: of adapters on q, k, v, put in by :meth:`MeralionSer.add_lora`; saved folders hold merged weights.
        lora_alpha: their scale is alpha / rank.
        lora_dropout: of their inputs, 0..1.
        lora_layers: the blocks that have them, from 1; None: all up to ``layer``.
        id2label: names of the classes, in the order of the logits; None: the released seven.

    Raises:
        UsageError: values that describe no network.
    """

    model_type: ClassVar[str] = "meralion_ser"

    encoder: str = "whisper"
    whisper: dict[str, Any] | None = None
    backbone: dict[str, Any] | None = None
    input_dim: int = 80
    mixed_states: int = 1
    frame_stack: int = 1
    layer: int | None = None
    standardise: bool = False
    frames: str = "all"
    channels: int = 512
    embedding: int | None = None
    dilations: list[int] | tuple[int, ...] = (1, 2, 3)
    res2_scale: int = 4
    se_reduction: int = 8
    channels_per_group: int | None = None
    kernel_sizes: list[int] | tuple[int, ...] = (1, 2, 6, 16)
    pooling_channels_per_group: int = 8
    segment_levels: int = 3
    pooling: str = "hybrid"
    dropout: float = 0.2
    embedding_dropout: float = 0.3
    init_scheme: str = "torch"
    lora_rank: int = 0
    lora_alpha: float = 16.0
    lora_dropout: float = 0.0
    lora_layers: list[int] | None = None
    id2label: dict[int, str] | dict[str, str] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.id2label is None and kwargs.get("num_labels") in (None, len(RELEASED_LABELS)):
            self.id2label = dict(enumerate(RELEASED_LABELS))
            self.label2id = {label: index for index, label in enumerate(RELEASED_LABELS)}
        super().__post_init__(**kwargs)
        if self.encoder == "whisper" and self.whisper is None:
            self.whisper = {}
        if self.embedding is None:
            self.embedding = self.channels // 2
        self._check()

    @property
    def group_count(self) -> int:
        """Number of groups of each group norm over ``channels``."""
        if self.channels_per_group is None:
            return min(32, self.channels)
        return self.channels // self.channels_per_group

    def _check(self) -> None:
        for field, value, known in (
            ("encoder", self.encoder, ENCODERS),
            ("frames", self.frames, get_args(FrameRule)),
            ("pooling", self.pooling, get_args(Pooling)),
            ("init_scheme", self.init_scheme, get_args(InitScheme)),
        ):
            if value not in known:
                raise UsageError(f"MeralionSerConfig: {field} is {value!r}; use one of {', '.join(known)}")
        for field, divisor in (
            ("res2_scale", self.res2_scale),
            ("channels_per_group", self.channels_per_group or 1),
            ("its 32 groups", self.group_count),
            ("pooling_channels_per_group", self.pooling_channels_per_group),
        ):
            if divisor < 1 or self.channels % divisor:
                raise UsageError(
                    f"MeralionSerConfig: {self.channels} channels cannot be split by {field} = {divisor}; "
                    "choose channels that it divides"
                )
        if self.encoder == "none" and (self.layer is not None or self.lora_rank):
            raise UsageError("MeralionSerConfig: layer and lora_rank need an encoder")
        if self.mixed_states < 1 or (self.mixed_states > 1 and self.encoder != "none"):
            raise UsageError(
                "MeralionSerConfig: mixed_states is a whole number from 1 and needs encoder 'none'"
            )
        if self.input_dim % self.mixed_states:
            raise UsageError(
                f"MeralionSerConfig: frames of {self.input_dim} values do not hold {self.mixed_states} states of equal size"
            )
        if self.frame_stack < 1 or (self.frame_stack > 1 and self.encoder != "none"):
            raise UsageError(
                "MeralionSerConfig: frame_stack is a whole number from 1 and needs encoder 'none'"
            )
