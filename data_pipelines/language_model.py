"""A transformers language model in a local folder: prompts in, a few texts each out, the same at every run."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from mmcontrast.config import Count, config
from mmcontrast.errors import ConfigError, MissingPackage


@config
class LanguageModelConfig:
    """Which model and how it is asked."""

    folder: str  # config.json, tokenizer and .safetensors of any causal or sequence-to-sequence model
    prompt: str  # template over the row's fields, as in "keywords to caption: {tags}"
    captions: Count = 1  # of each row: the best of as many beams
    max_new_tokens: Count = 40
    device: str = "cpu"


@lru_cache(maxsize=1)
def _load(folder: str, device: str) -> tuple[Any, Any]:
    try:
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
    except ImportError as error:
        raise MissingPackage("caption.model needs transformers: pip install 'mmcontrast[hf]'.") from error
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        known = AutoConfig.from_pretrained(folder, **local)
        tokenizer = AutoTokenizer.from_pretrained(folder, **local)
        kind = AutoModelForSeq2SeqLM if known.is_encoder_decoder else AutoModelForCausalLM
        model = kind.from_pretrained(folder, use_safetensors=True, **local).eval().to(device)
    except (OSError, ValueError) as error:
        raise ConfigError(f"'{folder}' holds no language model that transformers loads: {error}") from error
    if not known.is_encoder_decoder:
        tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer


def write(model: LanguageModelConfig, prompts: list[str]) -> list[list[str]]:
    """Texts for each prompt, best first: beam search without sampling; the first line of each, without repeats."""
    if not prompts:
        return []
    import torch

    network, tokenizer = _load(model.folder, model.device)
    asked = tokenizer(prompts, return_tensors="pt", padding=True).to(model.device)
    with torch.inference_mode():
        ids = network.generate(
            input_ids=asked["input_ids"],
            attention_mask=asked["attention_mask"],
            max_new_tokens=model.max_new_tokens,
            num_beams=model.captions,
            num_return_sequences=model.captions,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
    if not network.config.is_encoder_decoder:
        ids = ids[:, asked["input_ids"].shape[1] :]
    texts = [text.strip().split("\n")[0].strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
    groups = [texts[start : start + model.captions] for start in range(0, len(texts), model.captions)]
    return [list(dict.fromkeys(text for text in group if text)) for group in groups]
