"""Sample rows to download and edit: small, correct, for each kind of row and domain. Knows no files and no model."""

from tunesmith.data.samples.rows import DOMAINS, KINDS, MOST_ROWS, as_csv, as_jsonl, domains_of, is_flat, sample_rows

__all__ = ["DOMAINS", "KINDS", "MOST_ROWS", "as_csv", "as_jsonl", "domains_of", "is_flat", "sample_rows"]
