"""Where models are registered and deployed: one file a platform."""
