"""Making a fine-tuned model faster: candidates are exported, measured, and the fastest good one is kept."""
