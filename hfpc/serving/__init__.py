"""Answering requests, and testing what answers."""
