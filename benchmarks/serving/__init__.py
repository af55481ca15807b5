"""Our server against the official SageMaker Hugging Face stack: `python -m benchmarks.serving`.

The same model, machine and tweets, by turns. Each server is a process group of its own and so is
the load generator; all of them share the machine's cores, so that only the ratios mean something.
"""
