"""A pipeline that trains on the nodes of a TrainJob, and measures and registers what comes out."""

from kfp import dsl

from hfpc.components import evaluate, finetune_trainjob, register_kubeflow_model


@dsl.pipeline(name="on-nodes")
def on_nodes(tokenized: str, dataset: str, output_uri: str, registry: str):
    rows = dsl.importer(artifact_uri=dataset, artifact_class=dsl.Dataset)
    tokens = dsl.importer(artifact_uri=tokenized, artifact_class=dsl.Dataset)
    training = finetune_trainjob(
        tokenized=tokens.output,
        name="tiny",
        output_uri=output_uri,
        namespace="team",
        nodes=2,
        epochs=8.0,
        learning_rate=5e-3,
        batch_size=16,
    )
    measured = evaluate(model=training.outputs["model"], dataset=rows.output)
    register_kubeflow_model(
        model=training.outputs["model"], predictions=measured.outputs["predictions"], name="tiny", registry=registry
    )
