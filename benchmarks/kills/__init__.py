"""The same kills for every queue: how many until each stops for good, and what is left behind."""
