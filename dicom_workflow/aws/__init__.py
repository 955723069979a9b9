"""What leaves this machine: Lambda packages, staged training source, training jobs, and models that answer.

Which modules travel is read from the code itself: everything of this package that an entry point imports, directly or not,
also inside functions. So a package holds what it needs and nothing else, and cannot be forgotten when an import is added.
"""

from dicom_workflow.aws.batch_transforms import BatchRequest, TransformJob, batch_transform, read_batch
from dicom_workflow.aws.endpoints import Endpoint, EndpointRequest, delete_endpoint, deploy_endpoint, invoke_endpoint
from dicom_workflow.aws.packaging import (
    LAMBDA_HANDLER,
    LAMBDA_KINDS,
    build_lambda_zip,
    modules_of,
    stage_image,
    stage_labeling_service,
    stage_source,
)
from dicom_workflow.aws.training_jobs import TRAINING_FRAMEWORK, TrainingJob, TrainingRequest, submit_training

__all__ = [
    "LAMBDA_HANDLER",
    "LAMBDA_KINDS",
    "TRAINING_FRAMEWORK",
    "BatchRequest",
    "Endpoint",
    "EndpointRequest",
    "TrainingJob",
    "TrainingRequest",
    "TransformJob",
    "batch_transform",
    "build_lambda_zip",
    "delete_endpoint",
    "deploy_endpoint",
    "invoke_endpoint",
    "modules_of",
    "read_batch",
    "stage_image",
    "stage_labeling_service",
    "stage_source",
    "submit_training",
]
