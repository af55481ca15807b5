"""Side by side with the peers, in one run: `python -m benchmarks [NAME …]`.

Machines are noisy and differ, so what counts is the ratio between two measurements taken by turns,
not either of them alone.
"""
