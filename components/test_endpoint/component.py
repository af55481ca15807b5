"""Component: does the endpoint answer as the model should?"""

from kfp import dsl
from kfp.dsl import Artifact, Input, Metrics, Output

from hfpc import images


@dsl.component(base_image=images.CPU, install_kfp_package=False)
def test_endpoint(
    endpoint: Input[Artifact],
    metrics: Output[Metrics],
    max_latency_ms: float = 1000.0,
    requests: int = 50,
    roll_back: bool = False,
):
    """Sends the golden requests kept with the model to its endpoint.

    A local endpoint that is not being served is started for the test and stopped after it. Fails
    on any difference in label, and when the 95th percentile of the latency is over the limit.

    Args:
        endpoint: An endpoint from `deploy_local`, `deploy_vertex_endpoint`,
            `deploy_sagemaker_endpoint` or `deploy_kserve`.
        max_latency_ms: Most milliseconds that 95 of 100 requests may take, one at a time. Asynchronous
            endpoints of SageMaker answer by way of S3, so give them some seconds.
        requests: Requests to send; the golden ones are repeated until there are as many.
        roll_back: When the test fails, put the alias back to the version that served before, if
            `deploy_local` moved it. Only for local endpoints: `deploy_vertex_endpoint` and
            `deploy_sagemaker_endpoint` test before they move the traffic.

    Returns:
        metrics: Requests sent, latency percentiles in milliseconds.
    """
    from hfpc.sinks.endpoint_test import TestEndpointConfig, test_endpoint

    config = TestEndpointConfig(max_latency_ms=max_latency_ms, requests=requests, roll_back=roll_back)
    result = test_endpoint(config, endpoint.metadata)
    for name, value in result.metrics.items():
        metrics.log_metric(name, value)
