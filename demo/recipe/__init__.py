"""Makes the demo model and the demo data from nothing but our own words and fixed seeds: `python -m demo.recipe`."""
