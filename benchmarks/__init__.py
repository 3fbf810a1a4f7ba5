"""Measurements, run by hand: `make bench BENCH=name`. Each prints a table and writes `results/<name>.json`."""
