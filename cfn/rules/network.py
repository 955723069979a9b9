"""Rules about what can be reached, from where, and whether the way there is encrypted."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _stack_rules._base import Fault, StackRule, shown
from _stack_rules._reading import ABSENT, EVERY, Resource, Spot, View

DICOM_PORTS = {104, 2761, 2762, 4242, 11112}
CLEAR_TEXT_PORTS = {80, 3000, 5000, 8000, 8042, 8080, 8888, 9000}
ADMINISTRATION_PORTS = {22, 23, 3389, 5900, 5985, 5986}
DATABASE_PORTS = {1433, 1521, 2049, 3306, 5432, 5439, 6379, 9042, 9200, 11211, 27017}
PUBLIC_PORTS = {443}
WIDEST_NETWORK = 8  # a network with a shorter prefix than 10.0.0.0/8 is nobody's own

OLD_TLS = {"SSLv3", "TLSv1", "TLSv1.1", "TLSv1_2016", "TLSv1.1_2016"}
# Policies of load balancers that still speak TLS 1.0 or 1.1, among them the default.
OLD_BALANCER_POLICIES = (
    "ELBSecurityPolicy-2015",
    "ELBSecurityPolicy-2016",
    "ELBSecurityPolicy-TLS-1-0",
    "ELBSecurityPolicy-TLS-1-1",
    "ELBSecurityPolicy-FS-2018",
    "ELBSecurityPolicy-FS-1-1",
    "ELBSecurityPolicy-TLS13-1-0",
    "ELBSecurityPolicy-TLS13-1-1",
)

PUBLIC_SWITCHES = {
    "AWS::ECS::Service": ("NetworkConfiguration", "AwsvpcConfiguration", "AssignPublicIp"),
    "AWS::EC2::Instance": ("NetworkInterfaces", EVERY, "AssociatePublicIpAddress"),
    "AWS::EC2::LaunchTemplate": ("LaunchTemplateData", "NetworkInterfaces", EVERY, "AssociatePublicIpAddress"),
    "AWS::EC2::Subnet": ("MapPublicIpOnLaunch",),
    "AWS::RDS::DBInstance": ("PubliclyAccessible",),
    "AWS::RDS::DBCluster": ("PubliclyAccessible",),
    "AWS::DMS::ReplicationInstance": ("PubliclyAccessible",),
}


def inbound(view: View) -> Iterator[tuple[Resource, Spot]]:
    """Yield every inbound rule of every security group."""
    for group in view.resources("AWS::EC2::SecurityGroup"):
        for spot in group.at("SecurityGroupIngress", EVERY):
            if isinstance(spot.value, dict):
                yield group, spot
    for rule in view.resources("AWS::EC2::SecurityGroupIngress"):
        for spot in rule.at():
            yield rule, spot


def of_the_world(view: View, rule: Spot) -> list[Spot]:
    """Where an inbound rule names a network that is everyone's."""
    found = []
    for key in ("CidrIp", "CidrIpv6"):
        for spot in view.reach(rule, key):
            try:
                network = ipaddress.ip_network(spot.text, strict=False)
            except ValueError:
                continue
            if network.prefixlen < WIDEST_NETWORK and not network.is_private:
                found.append(spot)
    return found


def ports(view: View, rule: Spot) -> Iterator[tuple[int, int]]:
    """Yield the ranges of ports an inbound rule opens; all of them where it names no protocol or no port."""
    for protocol in view.reach(rule, "IpProtocol"):
        if protocol.text == "-1":
            yield 0, 65535
        elif protocol.text.lower() in ("tcp", "udp", "6", "17", ""):
            first = [spot.number for spot in view.reach(rule, "FromPort")]
            last = [spot.number for spot in view.reach(rule, "ToPort")]
            for low, high in zip(first, last, strict=len(first) == len(last)):
                if low is not None and high is not None:
                    yield (low, high) if low >= 0 else (0, 65535)


class _OpenPort(StackRule):
    """Not a rule itself: one for each kind of port, so that a waiver of one is not a waiver of all."""

    subjects = ("network", "ec2")
    wanted: frozenset[int] = frozenset()

    def faults(self, view: View) -> Iterator[Fault]:
        for group, rule in inbound(view):
            for spot in of_the_world(view, rule):
                for low, high in ports(view, rule):
                    hit = sorted(self.hit(low, high))
                    if hit:
                        place = hit[0] if len(hit) == 1 else f"{hit[0]} and {len(hit) - 1} more"
                        yield (
                            spot.path,
                            f"{group.name} opens port {place} to {spot.text}; name a security group or your network.",
                        )

    def hit(self, low: int, high: int) -> set[int]:
        return {port for port in self.wanted if low <= port <= high}


class OpenDicomPort(_OpenPort):
    id = "E9101"
    shortdesc = "DICOM port open to the world"
    description = (
        "DIMSE knows no passwords: whoever reaches the port of a DICOM archive can list, fetch and store studies. Let in "
        "the security groups or networks of the modalities only, and leave DIMSE off where DICOMweb will do."
    )
    wanted = frozenset(DICOM_PORTS)


class OpenClearTextPort(_OpenPort):
    id = "E9102"
    shortdesc = "clear-text web port open to the world"
    description = (
        "What is sent to this port can be read and changed on the way, passwords included. Open 443 with a certificate, "
        "to the networks that need it; a listener on 80 that only redirects may be waived."
    )
    wanted = frozenset(CLEAR_TEXT_PORTS)


class OpenAdministrationPort(_OpenPort):
    id = "E9103"
    shortdesc = "administration port (SSH, RDP …) open to the world"
    description = (
        "Ports of remote administration are tried by password guessers within minutes. Use Session Manager, which needs "
        "no open port, or name the one network administrators come from."
    )
    wanted = frozenset(ADMINISTRATION_PORTS)


class OpenDatabasePort(_OpenPort):
    id = "E9104"
    shortdesc = "database or file server port open to the world"
    description = (
        "Only the program in front of a database has business with it. Name that program's security group as the source "
        "instead of a network."
    )
    wanted = frozenset(DATABASE_PORTS)


class OpenOtherPort(_OpenPort):
    id = "E9105"
    shortdesc = "port open to the world that no public web page needs"
    description = (
        "Everything but 443 that answers to the whole Internet is a door nobody meant to open. Name the security group or "
        "the network that needs it."
    )
    wanted = frozenset(range(65536)) - (DICOM_PORTS | CLEAR_TEXT_PORTS | ADMINISTRATION_PORTS | DATABASE_PORTS | PUBLIC_PORTS)


class ClearTextListener(StackRule):
    id = "E9106"
    shortdesc = "load balancer listens in clear text without a redirect"
    description = (
        "A listener for HTTP that forwards sends passwords and images over the wire readable. Let it redirect to HTTPS, "
        "or leave it out."
    )
    subjects = ("network", "elasticloadbalancingv2")

    def faults(self, view: View) -> Iterator[Fault]:
        for listener in view.resources("AWS::ElasticLoadBalancingV2::Listener"):
            for protocol in listener.at("Protocol"):
                if protocol.text == "HTTP" and not self._redirects(listener):
                    yield protocol.path, f"{listener.name} forwards clear text; redirect to HTTPS with a RedirectConfig."

    def _redirects(self, listener: Resource) -> bool:
        kinds = {spot.text for spot in listener.at("DefaultActions", EVERY, "Type")}
        protocols = {spot.text for spot in listener.at("DefaultActions", EVERY, "RedirectConfig", "Protocol")}
        return kinds == {"redirect"} and protocols == {"HTTPS"}


class OldListenerTls(StackRule):
    id = "E9107"
    shortdesc = "HTTPS listener with an old TLS policy"
    description = (
        "The policy that applies when none is named still speaks TLS 1.0. Name one that begins at 1.2, such as "
        "ELBSecurityPolicy-TLS13-1-2-2021-06."
    )
    subjects = ("network", "elasticloadbalancingv2")

    def faults(self, view: View) -> Iterator[Fault]:
        for listener in view.resources("AWS::ElasticLoadBalancingV2::Listener"):
            if {spot.text for spot in listener.at("Protocol")} & {"HTTPS", "TLS"}:
                for spot in listener.at("SslPolicy"):
                    if spot.value is ABSENT or spot.text.startswith(OLD_BALANCER_POLICIES):
                        yield spot.path, f"{listener.name} has the TLS policy {shown(spot)}; name one that begins at TLS 1.2."


class CloudFrontAcceptsHttp(StackRule):
    id = "E9108"
    shortdesc = "CloudFront serves viewers over http"
    description = (
        "With `allow-all` the first request, cookies and all, goes out readable. Say `redirect-to-https` or `https-only` "
        "in every cache behavior."
    )
    subjects = ("network", "cloudfront")

    def faults(self, view: View) -> Iterator[Fault]:
        for site in view.resources("AWS::CloudFront::Distribution"):
            for keys in (("DefaultCacheBehavior",), ("CacheBehaviors", EVERY)):
                for spot in site.at("DistributionConfig", *keys, "ViewerProtocolPolicy"):
                    if spot.known and spot.text not in ("redirect-to-https", "https-only"):
                        yield spot.path, f"{site.name} has the viewer policy {shown(spot)}; say redirect-to-https."


class CloudFrontOldTls(StackRule):
    id = "E9109"
    shortdesc = "CloudFront speaks clear text or old TLS to the origin or to viewers"
    description = (
        "Between CloudFront and the origin lies the Internet. Set OriginProtocolPolicy to `https-only`, "
        "OriginSSLProtocols to `TLSv1.2`, and MinimumProtocolVersion to `TLSv1.2_2021` or later."
    )
    subjects = ("network", "cloudfront")

    def faults(self, view: View) -> Iterator[Fault]:
        for site in view.resources("AWS::CloudFront::Distribution"):
            origin = ("DistributionConfig", "Origins", EVERY, "CustomOriginConfig")
            for whole in site.at(*origin):
                if whole.value is ABSENT:
                    continue
                for spot in view.reach(whole, "OriginProtocolPolicy"):
                    if spot.known and spot.text != "https-only":
                        yield spot.path, f"{site.name} reaches its origin with {shown(spot)}; say https-only."
                for spot in view.reach(whole, "OriginSSLProtocols", EVERY):
                    if spot.text in OLD_TLS:
                        yield spot.path, f"{site.name} speaks {spot.text} to its origin; allow TLSv1.2 alone."
            for spot in site.at("DistributionConfig", "ViewerCertificate", "MinimumProtocolVersion"):
                if spot.text in OLD_TLS:
                    yield spot.path, f"{site.name} speaks {spot.text} to viewers; say TLSv1.2_2021."


class PublicAddress(StackRule):
    id = "E9110"
    shortdesc = "task, machine or database with a public address"
    description = (
        "What has a public address is one security group away from the Internet. Put it in private subnets, behind a load "
        "balancer, and let it out through a NAT gateway or VPC endpoints."
    )
    subjects = ("network",)

    def faults(self, view: View) -> Iterator[Fault]:
        for resource in view.resources(*PUBLIC_SWITCHES):
            for spot in resource.at(*PUBLIC_SWITCHES[resource.type]):
                if spot.text.lower() in ("true", "enabled"):
                    yield spot.path, f"{resource.name} gets a public address; use private subnets."
