"""From a source to tokenized splits."""
