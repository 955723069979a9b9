"""SageMaker: notebooks, Studio domains, models and endpoints, and the EC2 instances beside them."""

from __future__ import annotations

from collections.abc import Iterator

from cfn_lint_medical_imaging.template.values import ABSENT, EACH, ResolvedTemplate
from cfn_lint_medical_imaging.template_rule import Finding, TemplateRule, quoted

NOTEBOOK = "AWS::SageMaker::NotebookInstance"


class DirectInternetAccess(TemplateRule):
    id = "E9601"
    shortdesc = "notebook or Studio domain with direct internet access"
    description = (
        "A notebook that can read patients' images and reach the internet can leak them. Set DirectInternetAccess to Disabled "
        "(Studio: AppNetworkAccessType VpcOnly), with a subnet and VPC endpoints. A parameter whose default is Disabled is "
        "accepted."
    )
    topics = ("sagemaker", "notebooks", "network")
    defaults_only = True

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for notebook in template.resources(NOTEBOOK):
            for value in notebook.get("DirectInternetAccess"):
                if value.is_known and value.text != "Disabled":
                    yield value.path, f"{notebook.name} has direct internet access ({quoted(value)}). Set it to Disabled."
        for domain in template.resources("AWS::SageMaker::Domain"):
            for value in domain.get("AppNetworkAccessType"):
                if value.is_known and value.text != "VpcOnly":
                    yield value.path, f"{domain.name} has direct internet access ({quoted(value)}). Set it to VpcOnly."


class NotebookRootAccess(TemplateRule):
    id = "E9602"
    shortdesc = "notebook with root access"
    description = (
        "Root on a notebook instance can read the credentials of the instance and undo its lifecycle script. Set RootAccess "
        "to Disabled; lifecycle scripts still run as root."
    )
    topics = ("sagemaker", "notebooks")
    defaults_only = True

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for notebook in template.resources(NOTEBOOK):
            for value in notebook.get("RootAccess"):
                if value.is_known and value.text != "Disabled":
                    yield value.path, f"{notebook.name} has root access ({quoted(value)}). Set it to Disabled."


class VolumeWithoutCustomerKey(TemplateRule):
    id = "E9603"
    shortdesc = "notebook, Studio or endpoint volume without a customer managed KMS key"
    description = (
        "The volume keeps everything that was downloaded to it. Set a KmsKeyId, so that the policy of the key controls who "
        "can read it."
    )
    topics = ("sagemaker", "notebooks", "kms")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for resource in template.resources(NOTEBOOK, "AWS::SageMaker::Domain", "AWS::SageMaker::EndpointConfig"):
            for key in resource.get("KmsKeyId"):
                if key.raw is ABSENT or key.text in ("", "alias/aws/sagemaker"):
                    yield key.path, f"The volume of {resource.name} has no customer managed key. Set KmsKeyId."


class OldMetadataService(TemplateRule):
    id = "E9604"
    shortdesc = "instance that accepts IMDSv1"
    description = (
        "IMDSv1 gives the credentials of the role to any request that a page or library can be made to send. Require IMDSv2 "
        "(HttpTokens: required; notebooks: MinimumInstanceMetadataServiceVersion '2')."
    )
    topics = ("sagemaker", "notebooks", "ec2")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for notebook in template.resources(NOTEBOOK):
            for version in notebook.get("InstanceMetadataServiceConfiguration", "MinimumInstanceMetadataServiceVersion"):
                if version.text != "2":
                    yield version.path, f"{notebook.name} accepts IMDSv1. Set MinimumInstanceMetadataServiceVersion to '2'."
        for launch_template in template.resources("AWS::EC2::LaunchTemplate"):
            for tokens in launch_template.get("LaunchTemplateData", "MetadataOptions", "HttpTokens"):
                if tokens.text != "required":
                    yield tokens.path, f"{launch_template.name} accepts IMDSv1. Set HttpTokens to required."


class ModelWithNetworkAccess(TemplateRule):
    id = "W9605"
    shortdesc = "model container with network access"
    description = (
        "A model receives every image that is sent for a prediction and needs no network for it. Set EnableNetworkIsolation, "
        "or at least a VpcConfig with private subnets."
    )
    topics = ("sagemaker", "network")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for model in template.resources("AWS::SageMaker::Model"):
            if model.has("VpcConfig", "Subnets", EACH):
                continue
            for value in model.get("EnableNetworkIsolation"):
                if not value.is_true:
                    yield value.path, f"{model.name} has network access. Set EnableNetworkIsolation to true."
