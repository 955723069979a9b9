"""Rules about SageMaker: notebooks, Studio, training jobs and endpoints."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _stack_rules._base import Fault, StackRule, shown
from _stack_rules._reading import ABSENT, EVERY, View

NOTEBOOK = "AWS::SageMaker::NotebookInstance"
KEYS = {
    NOTEBOOK: ("KmsKeyId",),
    "AWS::SageMaker::Domain": ("KmsKeyId",),
    "AWS::SageMaker::EndpointConfig": ("KmsKeyId",),
}


class DirectInternet(StackRule):
    id = "E9601"
    shortdesc = "notebook or Studio with direct internet access"
    description = (
        "A notebook that sees patients' images and the whole Internet can send the one to the other. Set "
        "DirectInternetAccess to Disabled (Studio: VpcOnly), with a subnet and VPC endpoints. A parameter whose default "
        "is closed is fine."
    )
    subjects = ("notebooks", "sagemaker", "network")
    chosen = True

    def faults(self, view: View) -> Iterator[Fault]:
        for notebook in view.resources(NOTEBOOK):
            for spot in notebook.at("DirectInternetAccess"):
                if spot.known and spot.text != "Disabled":
                    yield spot.path, f"{notebook.name} has direct internet access ({shown(spot)}); set it to Disabled."
        for domain in view.resources("AWS::SageMaker::Domain"):
            for spot in domain.at("AppNetworkAccessType"):
                if spot.known and spot.text != "VpcOnly":
                    yield spot.path, f"{domain.name} has direct internet access ({shown(spot)}); set VpcOnly."


class NotebookRoot(StackRule):
    id = "E9602"
    shortdesc = "notebook with root access"
    description = (
        "Root on the notebook can read the credentials of the machine and undo its lifecycle script. Set RootAccess to "
        "Disabled; lifecycle scripts run as root all the same."
    )
    subjects = ("notebooks", "sagemaker")
    chosen = True

    def faults(self, view: View) -> Iterator[Fault]:
        for notebook in view.resources(NOTEBOOK):
            for spot in notebook.at("RootAccess"):
                if spot.known and spot.text != "Disabled":
                    yield spot.path, f"{notebook.name} gives root access ({shown(spot)}); set it to Disabled."


class NotebookWithoutKey(StackRule):
    id = "E9603"
    shortdesc = "notebook, Studio or endpoint volume without a KMS key"
    description = (
        "The volume keeps whatever was downloaded to it. Name a KmsKeyId of your own, so that the key's policy says who "
        "can read it."
    )
    subjects = ("notebooks", "sagemaker", "kms")

    def faults(self, view: View) -> Iterator[Fault]:
        for resource in view.resources(*KEYS):
            for spot in resource.at(*KEYS[resource.type]):
                if spot.value is ABSENT or spot.text in ("", "alias/aws/sagemaker"):
                    yield spot.path, f"The volume of {resource.name} has no key of your own; name a KmsKeyId."


class OldMetadataService(StackRule):
    id = "E9604"
    shortdesc = "machine or notebook that answers the old metadata service"
    description = (
        "Version 1 hands the role's credentials to any request a page or library can be made to send. Ask for version 2 "
        "(HttpTokens: required; notebooks: MinimumInstanceMetadataServiceVersion '2')."
    )
    subjects = ("notebooks", "ec2")

    def faults(self, view: View) -> Iterator[Fault]:
        for notebook in view.resources(NOTEBOOK):
            for spot in notebook.at("InstanceMetadataServiceConfiguration", "MinimumInstanceMetadataServiceVersion"):
                if spot.text != "2":
                    yield spot.path, f"{notebook.name} answers version 1 of the metadata service; ask for '2'."
        for template in view.resources("AWS::EC2::LaunchTemplate"):
            for spot in template.at("LaunchTemplateData", "MetadataOptions", "HttpTokens"):
                if spot.text != "required":
                    yield spot.path, f"{template.name} answers version 1 of the metadata service; set HttpTokens: required."


class ModelOnline(StackRule):
    id = "W9605"
    shortdesc = "model container that can reach the network"
    description = (
        "A model sees every image that is sent for a prediction, and needs nothing from outside. Set "
        "EnableNetworkIsolation, or at least a VpcConfig in private subnets."
    )
    subjects = ("notebooks", "sagemaker", "network")

    def faults(self, view: View) -> Iterator[Fault]:
        for model in view.resources("AWS::SageMaker::Model"):
            private = any(spot.value is not ABSENT for spot in model.at("VpcConfig", "Subnets", EVERY))
            for spot in model.at("EnableNetworkIsolation"):
                if not spot.true and not private:
                    yield spot.path, f"{model.name} can reach the network; set EnableNetworkIsolation: true."
