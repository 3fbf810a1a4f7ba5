"""Reads training data of any common file format into rows. Knows no tokenizer, no model and no page."""
