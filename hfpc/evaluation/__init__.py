"""Measuring models and choosing between them."""
