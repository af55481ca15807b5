"""The components, ready to be used in a pipeline: `from hfpc.components import finetune`."""

from hfpc.components.batch_predict.component import batch_predict
from hfpc.components.batch_predict_sagemaker.component import batch_predict_sagemaker
from hfpc.components.batch_predict_vertex.component import batch_predict_vertex
from hfpc.components.compare_models.component import compare_models
from hfpc.components.deploy_kserve.component import deploy_kserve
from hfpc.components.deploy_local.component import deploy_local
from hfpc.components.deploy_sagemaker_endpoint.component import deploy_sagemaker_endpoint
from hfpc.components.deploy_vertex_endpoint.component import deploy_vertex_endpoint
from hfpc.components.evaluate.component import evaluate
from hfpc.components.find_vertex_champion.component import find_vertex_champion
from hfpc.components.finetune.component import finetune
from hfpc.components.finetune_trainjob.component import finetune_trainjob
from hfpc.components.load_dataset.component import load_dataset
from hfpc.components.optimize.component import optimize
from hfpc.components.preprocess.component import preprocess
from hfpc.components.register_kubeflow_model.component import register_kubeflow_model
from hfpc.components.register_local_model.component import register_local_model
from hfpc.components.register_sagemaker_model.component import register_sagemaker_model
from hfpc.components.register_vertex_model.component import register_vertex_model
from hfpc.components.test_endpoint.component import test_endpoint
from hfpc.components.undeploy_kserve.component import undeploy_kserve
from hfpc.components.undeploy_sagemaker_endpoint.component import undeploy_sagemaker_endpoint
from hfpc.components.undeploy_vertex_endpoint.component import undeploy_vertex_endpoint

__all__ = [
    "batch_predict",
    "batch_predict_sagemaker",
    "batch_predict_vertex",
    "compare_models",
    "deploy_kserve",
    "deploy_local",
    "deploy_sagemaker_endpoint",
    "deploy_vertex_endpoint",
    "evaluate",
    "find_vertex_champion",
    "finetune",
    "finetune_trainjob",
    "load_dataset",
    "optimize",
    "preprocess",
    "register_kubeflow_model",
    "register_local_model",
    "register_sagemaker_model",
    "register_vertex_model",
    "test_endpoint",
    "undeploy_kserve",
    "undeploy_sagemaker_endpoint",
    "undeploy_vertex_endpoint",
]
