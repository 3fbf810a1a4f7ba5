"""Makes tiny random models of every architecture, with tokenizers really trained, for mlx-lm and transformers. Knows no tests.

256 wide, so that K-quants fit (rows of 256); weights float32, seeded, spread so that the likeliest token is clear.
"""

from __future__ import annotations

from tunesmith.models.blas import prepare_engine

prepare_engine()  # before the first import of mlx

import io  # noqa: E402
import warnings  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from importlib import import_module  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import orjson  # noqa: E402
from mlx.utils import tree_flatten  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

VOCABULARY = 480
CORPUS = (
    "The quick brown fox jumps over the lazy dog. What is the capital of France? Paris is the capital of France.",
    "Once upon a time, there was a small house by the sea. Write one sentence about the sea, and another about the house.",
    "def add(a, b):\n    return a + b\n\nfor i in range(10):\n    print(add(i, 2))\n",
    "日本の首都はどこですか。日本の首都は東京です。今日は天気がいいですね。",
    "7 + 5 = 12, 2024 - 1999 = 25; it's 3.14, isn't it? We're sure they'll see it.",
    "  two spaces, a tab\tand\n\n\nthree lines  ",
)  # fmt: skip
REGEX = {
    "llama-3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
SPECIAL = {
    "llama-3": ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "qwen2": ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    "gemma": ("<start_of_turn>", "<end_of_turn>"),
    "llama-2": (),
}
HEADER = "'<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] + '<|eot_id|>'"
TEMPLATES = {
    "llama-3": "{{ bos_token }}{% for m in messages %}{{ " + HEADER + " }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
    "qwen2": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "llama-2": "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}",
    "gemma": "{{ bos_token }}{% for m in messages %}"
    "{{ '<start_of_turn>' + m['role'] + '\\n' + m['content'] + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
}  # fmt: skip
COMMON = {
    "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 4,
    "rms_norm_eps": 1e-6, "max_position_embeddings": 1024, "rope_theta": 10000.0, "hidden_act": "silu", "torch_dtype": "float32",
    "tie_word_embeddings": False,
}  # fmt: skip
GEMMA = {"head_dim": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "query_pre_attn_scalar": 64, "tie_word_embeddings": True}
GELU = {"hidden_activation": "gelu_pytorch_tanh", "hidden_act": "gelu_pytorch_tanh"}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {"architectures": ["LlamaForCausalLM"], "head_dim": 32, "attention_bias": False, "mlp_bias": False},
    "mistral": {"architectures": ["MistralForCausalLM"], "head_dim": 32, "sliding_window": 4096},
    "qwen2": {"architectures": ["Qwen2ForCausalLM"], "tie_word_embeddings": True, "use_sliding_window": False},
    "qwen3": {"architectures": ["Qwen3ForCausalLM"], "head_dim": 64, "attention_bias": False},
    "gemma2": GEMMA | GELU | {
        "architectures": ["Gemma2ForCausalLM"], "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "sliding_window": 4096,
    },
    "gemma3_text": GEMMA | GELU | {
        "architectures": ["Gemma3ForCausalLM"], "num_hidden_layers": 6, "intermediate_size": 256, "sliding_window": 512,
        "sliding_window_pattern": 6, "rope_theta": 1_000_000.0, "rope_local_base_freq": 10_000.0,
    },
}  # fmt: skip
MODEL_TYPES = (*ARCHITECTURES, "gemma3")


def make_tiny_model(folder: Path, model_type: str, vocabulary: str = "bpe", seed: int = 0, **settings: Any) -> Path:
    """Write a model folder and return it.

    `vocabulary` is `bpe` (byte-level: Llama 3's for llama and mistral, else Qwen2's) or `sentencepiece` (with byte fallback: Gemma's for
    gemma, else Llama 2's, as tokenizer.model and tokenizer.json); `settings` change config.json. `gemma3` nests its text model as the
    multimodal checkpoints do, and transformers cannot load it without their vision tower.
    """
    folder.mkdir(parents=True, exist_ok=True)
    flavour = _flavour(model_type, vocabulary)
    bos, eos, rows = _write_tokenizer(folder, flavour)
    config = _config(model_type, {"vocab_size": rows, "bos_token_id": bos, "eos_token_id": eos, **settings})
    save_file(_random_weights(config, seed), folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", config)
    _write_json(folder / "generation_config.json", {"bos_token_id": bos, "eos_token_id": eos})
    return folder


def _config(model_type: str, settings: dict[str, Any]) -> dict[str, Any]:
    if model_type != "gemma3":
        return COMMON | ARCHITECTURES[model_type] | {"model_type": model_type} | settings
    text = COMMON | ARCHITECTURES["gemma3_text"] | {"model_type": "gemma3_text"} | settings
    outer = {name: text[name] for name in ("vocab_size", "bos_token_id", "eos_token_id", "torch_dtype", "tie_word_embeddings")}
    return outer | {"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"], "text_config": text}


def _random_weights(config: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    room = {"mistral": "llama"}.get(config["model_type"], config["model_type"])
    architecture = import_module(f"mlx_lm.models.{room}")
    model = architecture.Model(architecture.ModelArgs.from_dict(orjson.loads(orjson.dumps(config))))
    chance = np.random.default_rng(seed)
    gemma = room.startswith("gemma")
    weights = {}
    for name, array in tree_flatten(model.parameters()):
        if name.endswith("lm_head.weight") and config["tie_word_embeddings"]:
            continue
        noise = chance.standard_normal(array.shape).astype(np.float32)
        if name.endswith("norm.weight"):
            # Gemma's norms add 1; its layers must outweigh its scaled-up embeddings, or the last token would always follow itself
            weights[name] = 0.2 * noise + (1 if not gemma else 5 if ".post_" in name else 0)
        elif "embed_tokens" in name or "lm_head" in name:
            weights[name] = 0.25 * noise
        else:
            weights[name] = 0.5 * noise if array.ndim == 1 else noise / np.sqrt(array.shape[1], dtype=np.float32)
    return weights


def _flavour(model_type: str, vocabulary: str) -> str:
    if vocabulary == "bpe":
        return "llama-3" if model_type in {"llama", "mistral"} else "qwen2"
    return "gemma" if model_type.startswith("gemma") else "llama-2"


def _write_tokenizer(folder: Path, flavour: str) -> tuple[int | None, int, int]:
    """Write the tokenizer's files; return the ids of the beginning and the end, and how many tokens there are."""
    tokenizer = _byte_level(flavour) if flavour in REGEX else _sentencepiece(folder, flavour)
    names: dict[str, str | None] = {
        "llama-3": {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": "<|end_of_text|>"},
        "qwen2": {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
        "llama-2": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        "gemma": {"bos_token": "<bos>", "eos_token": "<end_of_turn>", "pad_token": "<pad>", "unk_token": "<unk>"},
    }[flavour]
    bos = tokenizer.token_to_id(names["bos_token"]) if names["bos_token"] else None
    if bos is not None:
        pair = [(names["bos_token"], bos)]
        tokenizer.post_processor = processors.TemplateProcessing(f"{names['bos_token']} $A", f"{names['bos_token']} $A $B", pair)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = names | {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 1024, "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATES[flavour],
    }  # fmt: skip
    _write_json(folder / "tokenizer_config.json", settings)
    return bos, tokenizer.token_to_id(names["eos_token"]), tokenizer.get_vocab_size()


def _byte_level(flavour: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=flavour == "llama-3"))
    if flavour == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(REGEX[flavour]), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = list(SPECIAL[flavour])
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _sentencepiece(folder: Path, flavour: str) -> Tokenizer:
    """Train a SentencePiece model with byte fallback and write the same as merges, as the checkpoints of the day carry both."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its SWIG wrapper, from Python 3.12 on
        import sentencepiece
    gemma = flavour == "gemma"
    trained = io.BytesIO()
    ids = {"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3} if gemma else {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1}
    pieces = {"bos_piece": "<bos>", "eos_piece": "<eos>"} if gemma else {}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for text in CORPUS for line in text.split("\n") if line]), model_writer=trained,
        model_type="bpe", vocab_size=VOCABULARY, byte_fallback=True, character_coverage=0.98, split_digits=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, allow_whitespace_only_pieces=True,
        add_dummy_prefix=not gemma, control_symbols=list(SPECIAL[flavour]), minloglevel=2, num_threads=1, **ids, **pieces,
    )  # fmt: skip
    (folder / "tokenizer.model").write_bytes(trained.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=trained.getvalue())
    size = processor.get_piece_size()
    vocabulary = {processor.id_to_piece(i): i for i in range(size)}
    control = [processor.id_to_piece(i) for i in range(size) if processor.is_control(i) or processor.is_unknown(i)]
    normal = [i for i in range(size) if not (processor.is_control(i) or processor.is_unknown(i) or processor.is_byte(i))]
    merges = list(_merges([processor.id_to_piece(i) for i in sorted(normal, key=processor.get_score, reverse=True)]))
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    replace = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = replace if gemma else normalizers.Sequence([normalizers.Prepend("▁"), replace])
    strip = [] if gemma else [decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    tokenizer.add_special_tokens([AddedToken(piece, special=True, normalized=False) for piece in control])
    return tokenizer


def _merges(pieces: list[str]) -> Iterator[tuple[str, str]]:
    """Yield all pairs that make a piece, the pieces in the order in which they were learned."""
    known = set(pieces)
    for piece in pieces:
        for cut in range(1, len(piece)):
            if piece[:cut] in known and piece[cut:] in known:
                yield piece[:cut], piece[cut:]


def _write_json(path: Path, record: dict[str, Any]) -> None:
    path.write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2))
