"""Asks an endpoint with the SageMaker Python SDK, and prints as JSON what its objects say. Run as a script.

python sagemaker_sdk.py ENDPOINT MODEL_PACKAGE_ARN realtime|serverless|async S3_URI_OF_THE_REQUEST
"""

import json
import sys

from sagemaker.core.resources import Endpoint, EndpointConfig, Model, ModelPackage

name, package, mode, question = sys.argv[1:]
endpoint = Endpoint.get(name)
[variant] = EndpointConfig.get(endpoint.endpoint_config_name).production_variants
model = Model.get(variant.model_name)
told = {"status": endpoint.endpoint_status, "approval": ModelPackage.get(package).model_approval_status}
told["image"] = (model.primary_container or model.containers[0]).image
if mode == "async":
    told["answer"] = endpoint.invoke_async(input_location=question, content_type="application/json").output_location
else:
    body = '{"inputs": ["i love this great day", "this is awful and sad"]}'
    told["answer"] = json.loads(endpoint.invoke(body=body, content_type="application/json").body.read())
print(json.dumps(told))
