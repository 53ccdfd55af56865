"""Qwen2-Audio: a Whisper encoder pooled in pairs, one linear layer, Qwen2. vLLM's class takes no LoRA: it is served merged."""

from adapters.audio_lm.tuning.classes.audio_class import AudioClass
from adapters.audio_lm.tuning.wording import TemplateWords

QWEN2_AUDIO = AudioClass(
    model_type="qwen2_audio",
    title="Qwen2-Audio",
    network="Qwen2AudioForConditionalGeneration",
    width=lambda config: int(config.audio_config.d_model),
    rows_per_second=25.0,
    window_rows=750,
    words=TemplateWords,
)
