"""The shipped model and data, and the recipe that made them."""
