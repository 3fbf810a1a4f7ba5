"""What a model folder holds beside its weights, by name. Knows no contents."""

from __future__ import annotations

CARRIED = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "chat_template.jinja", "chat_template.json", "generation_config.json",
)  # fmt: skip
MANIFEST = "tunesmith.json"  # where it comes from; written last: with it the folder is complete
