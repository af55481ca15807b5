from pathlib import Path

TOY = Path(__file__).with_name("toy_pipelines.py")
