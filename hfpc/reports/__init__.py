"""HTML reports and model cards: one self-contained file each."""
