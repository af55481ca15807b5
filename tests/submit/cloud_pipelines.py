"""Small pipelines for tests of what is sent to a cloud."""

from kfp import dsl


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def prepare(rows: int, project: str, location: str) -> int:
    print(project, location)
    return rows


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def learn(rows: int, rate: float) -> float:
    return rows * rate


@dsl.pipeline(name="toy-cloud")
def toy_cloud(rows: int = 10, rate: float = 0.5, project: str = "", location: str = ""):
    prepared = prepare(rows=rows, project=project, location=location).set_caching_options(False)
    learn(rows=prepared.output, rate=rate)


@dsl.pipeline(name="toy-again")
def toy_again(rows: int = 10):
    learn(rows=rows, rate=0.5).set_retry(2)
