"""Running a model folder over rows."""
