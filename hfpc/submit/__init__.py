"""Compiling and running pipelines. The only package here that imports kfp."""
