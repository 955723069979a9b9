"""Network exposure: open ports, public addresses and unencrypted connections."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from cfn_lint_medical_imaging.template.values import ABSENT, EACH, ResolvedTemplate, Resource, Value
from cfn_lint_medical_imaging.template_rule import Finding, TemplateRule, quoted

DICOM_PORTS = {104, 2761, 2762, 4242, 11112}
HTTP_PORTS = {80, 3000, 5000, 8000, 8042, 8080, 8888, 9000}
ADMINISTRATION_PORTS = {22, 23, 3389, 5900, 5985, 5986}
DATABASE_PORTS = {1433, 1521, 2049, 3306, 5432, 5439, 6379, 9042, 9200, 11211, 27017}
PUBLIC_PORTS = {443}
SHORTEST_PRIVATE_PREFIX = 8  # no organization owns more than a /8

OLD_TLS_VERSIONS = {"SSLv3", "TLSv1", "TLSv1.1", "TLSv1_2016", "TLSv1.1_2016"}
# Load balancer policies that accept TLS 1.0 or 1.1, the default policy among them.
OLD_TLS_POLICIES = (
    "ELBSecurityPolicy-2015",
    "ELBSecurityPolicy-2016",
    "ELBSecurityPolicy-TLS-1-0",
    "ELBSecurityPolicy-TLS-1-1",
    "ELBSecurityPolicy-FS-2018",
    "ELBSecurityPolicy-FS-1-1",
    "ELBSecurityPolicy-TLS13-1-0",
    "ELBSecurityPolicy-TLS13-1-1",
)

PUBLIC_ADDRESS_PROPERTIES = {
    "AWS::ECS::Service": ("NetworkConfiguration", "AwsvpcConfiguration", "AssignPublicIp"),
    "AWS::EC2::Instance": ("NetworkInterfaces", EACH, "AssociatePublicIpAddress"),
    "AWS::EC2::LaunchTemplate": ("LaunchTemplateData", "NetworkInterfaces", EACH, "AssociatePublicIpAddress"),
    "AWS::EC2::Subnet": ("MapPublicIpOnLaunch",),
    "AWS::RDS::DBInstance": ("PubliclyAccessible",),
    "AWS::RDS::DBCluster": ("PubliclyAccessible",),
    "AWS::DMS::ReplicationInstance": ("PubliclyAccessible",),
}


def ingress_rules(template: ResolvedTemplate) -> Iterator[tuple[Resource, Value]]:
    """Yield every ingress rule with the security group or the ingress resource that holds it."""
    for group in template.resources("AWS::EC2::SecurityGroup"):
        for rule in group.get("SecurityGroupIngress", EACH):
            if isinstance(rule.raw, dict):
                yield group, rule
    for resource in template.resources("AWS::EC2::SecurityGroupIngress"):
        for rule in resource.get():
            yield resource, rule


def public_networks(template: ResolvedTemplate, rule: Value) -> list[Value]:
    """Return the CIDR blocks of an ingress rule that cover the internet or a large part of it."""
    found = []
    for key in ("CidrIp", "CidrIpv6"):
        for value in template.follow(rule, key):
            try:
                network = ipaddress.ip_network(value.text, strict=False)
            except ValueError:
                continue
            if network.prefixlen < SHORTEST_PRIVATE_PREFIX and not network.is_private:
                found.append(value)
    return found


def port_ranges(template: ResolvedTemplate, rule: Value) -> Iterator[tuple[int, int]]:
    """Yield the port ranges that an ingress rule opens: every port where the protocol or the port is -1."""
    for protocol in template.follow(rule, "IpProtocol"):
        if protocol.text == "-1":
            yield 0, 65535
        elif protocol.text.lower() in ("tcp", "udp", "6", "17", ""):
            first = [value.number for value in template.follow(rule, "FromPort")]
            last = [value.number for value in template.follow(rule, "ToPort")]
            for low, high in zip(first, last, strict=len(first) == len(last)):
                if low is not None and high is not None:
                    yield (low, high) if low >= 0 else (0, 65535)


class _OpenPort(TemplateRule):
    """Base of one rule per kind of port, so that ignoring one does not ignore the others."""

    topics = ("network", "ec2")
    ports: frozenset[int] = frozenset()

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for owner, rule in ingress_rules(template):
            for network in public_networks(template, rule):
                for low, high in port_ranges(template, rule):
                    opened = sorted(port for port in self.ports if low <= port <= high)
                    if opened:
                        ports = f"port {opened[0]}" if len(opened) == 1 else f"port {opened[0]} and {len(opened) - 1} more"
                        yield (
                            network.path,
                            f"{owner.name} opens {ports} to {network.text}. Allow only a security group or your network.",
                        )


class DicomPortOpen(_OpenPort):
    id = "E9101"
    shortdesc = "DICOM port open to the internet"
    description = (
        "DIMSE has no password authentication: any client that reaches the port can query, retrieve and store studies. Allow "
        "only the security groups or networks of the modalities, or disable DIMSE and use DICOMweb."
    )
    ports = frozenset(DICOM_PORTS)


class HttpPortOpen(_OpenPort):
    id = "E9102"
    shortdesc = "unencrypted HTTP port open to the internet"
    description = (
        "Traffic to this port, including passwords, can be read and modified in transit. Open port 443 with a certificate to "
        "the networks that need it. Ignore this rule for a listener on port 80 that only redirects to HTTPS."
    )
    ports = frozenset(HTTP_PORTS)


class AdministrationPortOpen(_OpenPort):
    id = "E9103"
    shortdesc = "administration port (SSH, RDP and others) open to the internet"
    description = (
        "Remote administration ports are attacked by password guessing within minutes. Use Session Manager, which needs no "
        "open port, or allow only the network of the administrators."
    )
    ports = frozenset(ADMINISTRATION_PORTS)


class DatabasePortOpen(_OpenPort):
    id = "E9104"
    shortdesc = "database or file server port open to the internet"
    description = (
        "Only the application in front of a database needs to connect to it. Allow the security group of that application "
        "instead of a network."
    )
    ports = frozenset(DATABASE_PORTS)


class OtherPortOpen(_OpenPort):
    id = "E9105"
    shortdesc = "port other than 443 open to the internet"
    description = (
        "A public web application needs only port 443; any other public port is most likely a mistake. Allow only the "
        "security group or network that needs it."
    )
    ports = frozenset(range(65536)) - (DICOM_PORTS | HTTP_PORTS | ADMINISTRATION_PORTS | DATABASE_PORTS | PUBLIC_PORTS)


class HttpListener(TemplateRule):
    id = "E9106"
    shortdesc = "load balancer listener that forwards HTTP"
    description = (
        "An HTTP listener that forwards requests transmits passwords and images unencrypted. Redirect to HTTPS, or remove the "
        "listener."
    )
    topics = ("network", "elasticloadbalancingv2")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for listener in template.resources("AWS::ElasticLoadBalancingV2::Listener"):
            for protocol in listener.get("Protocol"):
                if protocol.text == "HTTP" and not self._redirects_to_https(listener):
                    yield protocol.path, f"{listener.name} forwards unencrypted HTTP. Redirect to HTTPS with a RedirectConfig."

    def _redirects_to_https(self, listener: Resource) -> bool:
        actions = {action.text for action in listener.get("DefaultActions", EACH, "Type")}
        protocols = {protocol.text for protocol in listener.get("DefaultActions", EACH, "RedirectConfig", "Protocol")}
        return actions == {"redirect"} and protocols == {"HTTPS"}


class OldListenerTls(TemplateRule):
    id = "E9107"
    shortdesc = "HTTPS listener with a TLS policy older than 1.2"
    description = (
        "The default policy still accepts TLS 1.0. Set SslPolicy to a policy that requires TLS 1.2 or later, such as "
        "ELBSecurityPolicy-TLS13-1-2-2021-06."
    )
    topics = ("network", "elasticloadbalancingv2")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for listener in template.resources("AWS::ElasticLoadBalancingV2::Listener"):
            if {protocol.text for protocol in listener.get("Protocol")} & {"HTTPS", "TLS"}:
                for policy in listener.get("SslPolicy"):
                    if policy.raw is ABSENT:
                        yield policy.path, f"{listener.name} has no SslPolicy. Set one that requires TLS 1.2 or later."
                    elif policy.text.startswith(OLD_TLS_POLICIES):
                        yield (
                            policy.path,
                            f"{listener.name} has the TLS policy {quoted(policy)}. Set one that requires TLS 1.2 or later.",
                        )


class CloudFrontAcceptsHttp(TemplateRule):
    id = "E9108"
    shortdesc = "CloudFront accepts HTTP from viewers"
    description = (
        "With `allow-all`, viewers can send requests and cookies unencrypted. Set ViewerProtocolPolicy to `redirect-to-https` "
        "or `https-only` in every cache behavior."
    )
    topics = ("network", "cloudfront")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for distribution in template.resources("AWS::CloudFront::Distribution"):
            for keys in (("DefaultCacheBehavior",), ("CacheBehaviors", EACH)):
                for policy in distribution.get("DistributionConfig", *keys, "ViewerProtocolPolicy"):
                    if policy.is_known and policy.text not in ("redirect-to-https", "https-only"):
                        yield (
                            policy.path,
                            f"{distribution.name} has the viewer protocol policy {quoted(policy)}. Set redirect-to-https.",
                        )


class CloudFrontOldTls(TemplateRule):
    id = "E9109"
    shortdesc = "CloudFront uses HTTP or old TLS to the origin or to viewers"
    description = (
        "Traffic between CloudFront and the origin crosses the internet. Set OriginProtocolPolicy to `https-only`, "
        "OriginSSLProtocols to `TLSv1.2`, and MinimumProtocolVersion to `TLSv1.2_2021` or later."
    )
    topics = ("network", "cloudfront")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for distribution in template.resources("AWS::CloudFront::Distribution"):
            name = distribution.name
            for origin in distribution.get("DistributionConfig", "Origins", EACH, "CustomOriginConfig"):
                if origin.raw is ABSENT:
                    continue
                for policy in template.follow(origin, "OriginProtocolPolicy"):
                    if policy.is_known and policy.text != "https-only":
                        yield policy.path, f"{name} has the origin protocol policy {quoted(policy)}. Set https-only."
                for protocol in template.follow(origin, "OriginSSLProtocols", EACH):
                    if protocol.text in OLD_TLS_VERSIONS:
                        yield protocol.path, f"{name} allows {protocol.text} to its origin. Allow only TLSv1.2."
            for version in distribution.get("DistributionConfig", "ViewerCertificate", "MinimumProtocolVersion"):
                if version.text in OLD_TLS_VERSIONS:
                    yield version.path, f"{name} accepts {version.text} from viewers. Set TLSv1.2_2021."


class PublicAddress(TemplateRule):
    id = "E9110"
    shortdesc = "task, instance or database with a public IP address"
    description = (
        "A resource with a public address is exposed by a single mistake in a security group. Place it in private subnets "
        "behind a load balancer, with outbound access through a NAT gateway or VPC endpoints."
    )
    topics = ("network",)

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for resource in template.resources(*PUBLIC_ADDRESS_PROPERTIES):
            for value in resource.get(*PUBLIC_ADDRESS_PROPERTIES[resource.type]):
                if value.text.lower() in ("true", "enabled"):
                    yield value.path, f"{resource.name} gets a public IP address. Use private subnets and disable it."
