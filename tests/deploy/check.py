"""Checks what `deploy/` ships for Kubernetes, with Helm's own engine and Kubernetes' own schemas; nothing reaches a cluster.

Usage: check.py KEYSIDE      KEYSIDE is the binary, which checks each configuration that is rendered.

Each chart of `CASES` is linted, rendered and validated against the oldest supported version of Kubernetes and the newest
one that the schemas know. The plain manifests are validated alike. The values that `REFUSED` lists must be refused.
"""

import copy
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

import kubernetes_validate
import yaml
from helm_python import Chart, HelmError, lint

DEPLOY = pathlib.Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm" / "keyside"
VERSIONS = ["1.29", kubernetes_validate.latest_version()]
# Kinds of operators, for which Kubernetes has no schema.
WITHOUT_SCHEMA = {"PodMonitor", "Kustomization"}

SHOP = {"containers": [{"name": "shop", "image": "shop:1"}]}
ALL = SHOP | {
    "replicas": 3,
    "image": {"repository": "registry.example/keyside", "tag": "1.2.3", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "env": [{"name": "VAULT_ADDR", "value": "https://vault.example:8200"}],
    "secrets": [{"name": "acme", "secret": "acme-whatsapp"}, {"name": "limits", "secret": "keyside-limits"}],
    "secretAccess": ["acme-whatsapp"],
    "serviceAccount": {"annotations": {"example/role": "keyside"}},
    "inbound": {"trusted_proxies": ["203.0.113.0/24"], "max_body": "2MiB"},
    "spool": {
        "enabled": True,
        "size": "8Gi",
        "maxSize": "3GiB",
        "maxAge": "3d",
        "keep": "48h",
        "storageClassName": "fast",
    },
    "state": {"enabled": True},
    "service": {"annotations": {"example/a": "b"}},
    "metrics": {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
    "networkPolicy": {
        "enabled": True,
        "webhooksFrom": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
        "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "extraEgress": [{"ports": [{"protocol": "TCP", "port": 6379}]}],
    },
    "podDisruptionBudget": {"enabled": True},
    "podLabels": {"team": "shop"},
    "podAnnotations": {"example/c": "d"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
}
# Name of the case, values, kinds that are rendered.
CASES = [
    ("the values as they are", {}, ["ConfigMap", "Service", "ServiceAccount"]),
    ("an application", SHOP, ["ConfigMap", "Deployment", "Service", "ServiceAccount"]),
    ("with a state", SHOP | {"state": {"enabled": True}}, ["ConfigMap", "Deployment", "Service", "ServiceAccount"]),
    (
        "with everything",
        ALL,
        [
            "ConfigMap",
            "NetworkPolicy",
            "PodDisruptionBudget",
            "PodMonitor",
            "Role",
            "RoleBinding",
            "Service",
            "ServiceAccount",
            "StatefulSet",
        ],
    ),
]


def shop(**fields):
    """Values of an application whose container has further fields."""
    return {"containers": [SHOP["containers"][0] | fields]}


# Values that are refused, and a word of the message.
REFUSED = [
    ({"conifg": "a misspelt name"}, "conifg"),
    ({"spool": {"enabled": True, "size": "lots"}}, "size"),
    ({"secrets": [{"name": "Acme", "secret": "acme"}]}, "secrets"),
    ({"secrets": [{"name": "acme", "secret": "acme", "value": "EAAB"}]}, "value"),
    ({"service": {"port": 0}}, "port"),
    ({"secretAccess": ["acme"], "serviceAccount": {"create": False}}, "an account of its own"),
    ({"metrics": {"podMonitor": {"enabled": True, "interval": "30s1m"}}}, "interval"),
    ({"config": "[metrics]\nlisten = ['127.0.0.1:9901']\n"}, "which the chart writes"),
    ({"inbound": {"listen": ["127.0.0.1:8081"]}}, "inbound"),
    ({"spool": {"enabled": True, "keep": "long"}}, "keep"),
    ({"config": "inbound.max_body = '1MiB'\n"}, "which the chart writes"),
    ({"config": "[ inbound ]\nmax_body = '1MiB'\n"}, "which the chart writes"),
    ({"config": "[inbound.tls]\ncert = 'a'\n"}, "which the chart writes"),
    ({"config": "[inbound]\nlisten = ['127.0.0.1:8081']\n"}, "which the chart writes"),
    ({"config": "['inbound']\nmax_body = '1MiB'\n"}, "which the chart writes"),
    ({"config": '"spool".dir = "/a"\n'}, "which the chart writes"),
    ({"secrets": [{"name": "acme", "secret": "a"}, {"name": "acme", "secret": "b"}]}, "twice"),
    ({"secrets": [{"name": "acme", "secret": "a..b"}]}, "secrets"),
    ({"spool": {"enabled": True, "size": "1Gi", "maxSize": "1GiB"}}, "leave room"),
    ({"spool": {"enabled": True, "size": "900Mi", "maxSize": "1GiB"}}, "leave room"),
    ({"containers": [{"name": "keyside", "image": "shop:1"}]}, "containers"),
    ({"volumes": [{"name": "keyside-config", "emptyDir": {}}]}, "volumes"),
    ({"podLabels": {"app.kubernetes.io/name": "shop"}}, "app.kubernetes.io/name"),
    ({"podLabels": {"a": True}}, "podLabels"),
    ({"podAnnotations": {"a": 1}}, "podAnnotations"),
    ({"nodeSelector": {"a": True}}, "nodeSelector"),
    ({"service": {"annotations": {"a": True}}}, "annotations"),
    ({"env": [{"name": "PORT", "value": 1}]}, "env"),
    ({"podDisruptionBudget": {"enabled": True, "maxUnavailable": "most"}}, "maxUnavailable"),
    ({"podDisruptionBudget": {"enabled": True, "maxUnavailable": "101%"}}, "maxUnavailable"),
    # What the schemas of Kubernetes take, and an API server refuses.
    ({"containers": [{"name": "Shop", "image": "shop:1"}]}, 'containers[].name is "Shop": write at most 63'),
    ({"containers": [{"name": "a" * 64, "image": "shop:1"}]}, "write at most 63"),
    ({"containers": [{"name": "shop", "image": "a"}, {"name": "shop", "image": "b"}]}, "containers[].name has shop twice"),
    ({"volumes": [{"name": "a_b", "emptyDir": {}}]}, 'volumes[].name is "a_b": write at most 63'),
    ({"volumes": [{"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}]}, "volumes[].name has a twice"),
    ({"env": [{"name": "A=B", "value": "1"}]}, 'env has the name "A=B": write letters'),
    ({"env": [{"name": "1A", "value": "1"}]}, "no digit"),
    ({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}, "env has A twice"),
    (shop(env=[{"name": "A"}, {"name": "A"}]), "env of the container shop has A twice"),
    (shop(env=[{"name": ".."}]), "write letters"),
    (shop(ports=[{"containerPort": 0}]), "containerPort"),
    (shop(ports=[{"containerPort": 3000, "name": "a-port-of-16-let"}]), "write at most 15"),
    (shop(ports=[{"containerPort": 3000, "name": "3000"}]), "at least one letter"),
    (shop(ports=[{"containerPort": 3000, "name": "a--b"}]), "beside another"),
    (shop(ports=[{"containerPort": 3000, "name": "a"}, {"containerPort": 3001, "name": "a"}]), "has a twice"),
    (shop(ports=[{"containerPort": 3000, "name": "metrics"}]), "has metrics twice"),
    (shop(ports=[{"containerPort": 3000}, {"containerPort": 3000}]), "TCP 3000 twice"),
    (shop(ports=[{"containerPort": 9901}]), "a port of the sidecar"),
    (shop(ports=[{"containerPort": 8080}]), "a port of the sidecar"),
    (shop(volumeMounts=[{"name": "a", "mountPath": "/a"}]), "add it to volumes"),
    (shop(volumeMounts=[{"name": "keyside-secret-acme", "mountPath": "/a"}]), "for the sidecar alone"),
    (
        shop(volumeMounts=[{"name": "a", "mountPath": "/a"}, {"name": "a", "mountPath": "/a"}])
        | {"volumes": [{"name": "a", "emptyDir": {}}]},
        "has /a twice",
    ),
    ({"serviceAccount": {"name": "Shop"}}, 'serviceAccount.name is "Shop": write at most 253'),
    ({"serviceAccount": {"name": "a.-b"}}, "each part between dots"),
    ({"serviceAccount": {"name": "default"}}, "which each namespace has already"),
    ({"spool": {"enabled": True, "storageClassName": "Fast"}}, "spool.storageClassName"),
    ({"podLabels": {"team": "the shop"}}, 'podLabels.team is "the shop": write at most 63'),
    ({"podLabels": {"team": "a" * 64}}, "belong in annotations"),
    ({"podLabels": {"team-": "shop"}}, 'podLabels has the key "team-"'),
    ({"podAnnotations": {"a/b/c": "1"}}, 'podAnnotations has the key "a/b/c"'),
    ({"service": {"annotations": {"a" * 64: "1"}}}, "service.annotations has the key"),
    ({"serviceAccount": {"annotations": {"A.b/c": "1"}}}, "serviceAccount.annotations has the key"),
    ({"nodeSelector": {"a": "b c"}}, "nodeSelector.a"),
    ({"metrics": {"podMonitor": {"labels": {"a": "b c"}}}}, "metrics.podMonitor.labels.a"),
    ({"metrics": {"podMonitor": {"labels": {"helm.sh/chart": "a"}}}}, "helm.sh/chart"),
]
# Names of releases that YAML reads as something else than text, or that are no name of an object.
RELEASES = ["true", "null", "123", "on", "1e3", "a" * 53, "7." + "a" * 51, "a.b", "a" * 51 + ".a"]
# For each value of the schema, another value that shows in what is rendered of `ALL`.
EFFECTS = {
    "image.repository": "other.example/keyside",
    "image.tag": "9.9.9",
    "image.pullPolicy": "Never",
    "imagePullSecrets": [{"name": "other"}],
    "containers": [{"name": "other", "image": "other:1"}],
    "replicas": 7,
    "config": "[credential.other]\nprovider = 'meta'\ntoken = 'file:/a'\n[[route]]\ncredential = 'other'\n",
    "inbound": {"max_body": "3MiB"},
    "secrets": [{"name": "other", "secret": "other"}],
    "secretAccess": ["other"],
    "serviceAccount.create": False,
    "serviceAccount.name": "other",
    "serviceAccount.annotations": {"other": "1"},
    "env": [{"name": "OTHER", "value": "1"}],
    "spool.enabled": False,
    "spool.size": "9Gi",
    "spool.maxSize": "2GiB",
    "spool.maxAge": "9d",
    "spool.keep": "9h",
    "spool.storageClassName": "slow",
    "state.enabled": False,
    "state.secret": "other",
    "service.enabled": False,
    "service.port": 8443,
    "service.annotations": {"other": "1"},
    "metrics.podMonitor.enabled": False,
    "metrics.podMonitor.interval": "1m30s",
    "metrics.podMonitor.labels": {"other": "1"},
    "networkPolicy.enabled": False,
    "networkPolicy.webhooksFrom": [{"podSelector": {}}],
    "networkPolicy.metricsFrom": [{"podSelector": {}}],
    "networkPolicy.extraIngress": [{"ports": [{"protocol": "TCP", "port": 3000}]}],
    "networkPolicy.extraEgress": [{"ports": [{"protocol": "TCP", "port": 8200}]}],
    "podDisruptionBudget.enabled": False,
    "podDisruptionBudget.maxUnavailable": "50%",
    "terminationGracePeriodSeconds": 99,
    "resources": {"limits": {"memory": "256Mi"}},
    "podSecurityContext": {"fsGroup": 1234},
    "podAnnotations": {"other": "1"},
    "podLabels": {"other": "1"},
    "volumes": [{"name": "other", "emptyDir": {}}],
    "nodeSelector": {"other": "1"},
    "tolerations": [{"key": "other", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {}}
    ]}},
    "topologySpreadConstraints": [
        {"maxSkew": 2, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
    ],
}
# Values of Helm itself, which no template reads.
WITHOUT_EFFECT = {"global"}


# The pod of a chart that lists this one as a dependency.
DEPENDENT_POD = """
apiVersion: v1
kind: Pod
metadata:
  name: shop
  labels:
    {{- include "keyside.selector" . | nindent 4 }}
spec:
  initContainers:
    {{- include "keyside.sidecar" . | nindent 4 }}
  containers:
    - { name: shop, image: "shop:1" }
  volumes:
    {{- include "keyside.volumes" . | nindent 4 }}
"""


def documents(text):
    return [document for document in yaml.safe_load_all(text) if document is not None]


def validate(document, version):
    """Validates a document strictly: unknown fields are faults."""
    if document["kind"] not in WITHOUT_SCHEMA:
        kubernetes_validate.validate(document, version, strict=True)


def check_configuration(keyside, text):
    """Lets Keyside check a configuration without reading its secrets."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "proxy.toml"
        path.write_text(text)
        command = [keyside, "check", "--no-secrets", "--config", str(path)]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{text}"


def pod_of(rendered):
    for document in rendered:
        if document["kind"] in ("Deployment", "StatefulSet"):
            return document["spec"]["template"]["spec"]
    return None


def check_pod(pod):
    """Every mount has its volume, and no secret of the sidecar is mounted into another container."""
    names = {volume["name"] for volume in pod["volumes"]} | {"keyside-data", "events"}
    assert len(pod["volumes"]) == len({volume["name"] for volume in pod["volumes"]}), "a volume twice"
    (sidecar,) = pod["initContainers"]
    assert sidecar["restartPolicy"] == "Always", "a native sidecar"
    for mount in sidecar["volumeMounts"]:
        assert mount["name"] in names, f"no volume {mount['name']}"
    for container in pod["containers"]:
        mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
        assert not any(name.startswith("keyside") for name in mounts), container["name"]
    ports = {port["name"] for port in sidecar["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert sidecar[probe]["httpGet"]["port"] in ports, probe


def selected_by(document):
    """The labels that a document looks for in pods; `None` where it looks for none."""
    spec = document.get("spec", {})
    selector = spec.get("podSelector") or spec.get("selector")
    return selector and selector.get("matchLabels", selector)


def check_selectors(rendered):
    """Services, policies and monitors find the pods with a sidecar, and the alerts find the job of the monitor."""
    pods = [document for document in rendered if document["kind"] in ("Deployment", "StatefulSet")]
    labels = [pod["spec"]["template"]["metadata"]["labels"] for pod in pods]
    labels += [document["metadata"]["labels"] for document in rendered if document["kind"] == "Pod"]
    for document in rendered:
        wanted = selected_by(document)
        if wanted and labels:
            found = any(wanted.items() <= of_pod.items() for of_pod in labels)
            assert found, f"{document['kind']} {document['metadata']['name']} looks for {wanted}"
        if document["kind"] == "PodMonitor":
            (endpoint,) = document["spec"]["podMetricsEndpoints"]
            assert {"targetLabel": "job", "replacement": "keyside"} in endpoint["relabelings"], document


def check_secrets_are_optional(pod):
    """A Secret that is missing holds up no pod: Keyside tells about it, and takes it once it comes."""
    for volume in pod["volumes"]:
        for source in volume.get("projected", {}).get("sources", []):
            assert source.get("secret", {"optional": True}).get("optional"), volume["name"]


def check_dependency():
    """A chart that lists this one as a dependency takes the sidecar into a pod of its own."""
    with tempfile.TemporaryDirectory() as folder:
        own = pathlib.Path(folder) / "shop"
        (own / "templates").mkdir(parents=True)
        shutil.copytree(CHART, own / "charts" / "keyside")
        (own / "templates" / "pod.yaml").write_text(DEPENDENT_POD)
        (own / "Chart.yaml").write_text(
            "apiVersion: v2\nname: shop\nversion: 1.0.0\ndependencies:\n  - { name: keyside, version: '*' }\n"
        )
        values = {"image": "of the shop", "keyside": {"state": {"enabled": True}}}
        rendered = []
        for path, text in Chart.load(str(own)).render(values, name="shop", namespace="default").items():
            if not path.endswith("NOTES.txt"):
                rendered += documents(text)
    check_selectors(rendered)
    (pod,) = [document for document in rendered if document["kind"] == "Pod"]
    for version in VERSIONS:
        validate(pod, version)
    check_pod(pod["spec"])
    assert pod["spec"]["initContainers"][0]["image"].startswith("keyside:"), "the image of the dependency"
    names = [document["metadata"]["name"] for document in rendered if document["kind"] == "ConfigMap"]
    config = next(volume for volume in pod["spec"]["volumes"] if "configMap" in volume)
    assert config["configMap"]["name"] in names, f"{config} is none of {names}"
    print(f"chart, as a dependency: {len(rendered)} objects")


def rendered_with(values, release="shop"):
    """The documents that the chart makes of some values, which the schema takes."""
    chart = Chart.load(str(CHART))
    chart.validate_schema(values)
    rendered = []
    for path, text in chart.render(copy.deepcopy(values), name=release, namespace="default").items():
        if not path.endswith("NOTES.txt"):
            rendered += documents(text)
    return rendered


def values_of_schema(schema, path=""):
    """The paths of the values that are set one by one."""
    for name, inner in schema["properties"].items():
        if "properties" in inner:
            yield from values_of_schema(inner, f"{path}{name}.")
        else:
            yield f"{path}{name}"


def check_room_of_spool(pod, expected_arenas="2"):
    """With a spool the sidecar has the memory that the engine and the events on their way need."""
    (sidecar,) = [one for one in pod["initContainers"] if one["name"] == "keyside"]
    assert sidecar["resources"]["limits"]["memory"] == "192Mi", sidecar["resources"]
    arenas = [one["value"] for one in sidecar["env"] if one["name"] == "MALLOC_ARENA_MAX"]
    assert arenas == [expected_arenas], sidecar["env"]


def check_name(document):
    """An object has a name that an API server takes; that of a Service begins with a letter."""
    first = "[a-z]" if document["kind"] == "Service" else "[a-z0-9]"
    name = document["metadata"]["name"]
    assert len(name) <= 63 and re.fullmatch(f"{first}([-a-z0-9]*[a-z0-9])?", name), f"{document['kind']} {name}"


def check_values(keyside):
    """Each value of the schema has an effect, with which the documents are still valid."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(values_of_schema(schema)) == EFFECTS.keys() | WITHOUT_EFFECT
    before = rendered_with(ALL)
    check_room_of_spool(pod_of(before))
    own = {"env": [{"name": "MALLOC_ARENA_MAX", "value": "4"}]}
    check_room_of_spool(pod_of(rendered_with(ALL | own)), expected_arenas="4")
    for path, value in EFFECTS.items():
        values = copy.deepcopy(ALL)
        *folders, name = path.split(".")
        place = values
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = value
        if path == "serviceAccount.create":
            del values["secretAccess"]  # Refused for an account that every pod of the namespace has.
        rendered = rendered_with(values)
        assert rendered != before, f"{path} has no effect"
        for document in rendered:
            validate(document, VERSIONS[0])
        check_selectors(rendered)
        check_pod(pod_of(rendered))
        (config,) = [document for document in rendered if document["kind"] == "ConfigMap"]
        check_configuration(keyside, config["data"]["proxy.toml"])
        if path == "serviceAccount.create":
            account = pod_of(rendered)["serviceAccountName"]
            assert account == "default", f"the pod wants the account {account}, which nobody makes"
    print(f"chart: each of {len(EFFECTS)} values has its effect")
    for release in RELEASES:
        for document in rendered_with(ALL, release):
            check_name(document)
            for version in VERSIONS:
                validate(document, version)
    print(f"chart: {len(RELEASES)} odd names of releases are names")


def check_chart(keyside):
    for name, values, kinds in CASES:
        report = lint(str(CHART), values, strict=True, kube_version="v1.29.0")
        bad = [message for message in report["messages"] if message["severity"] >= 2]
        assert not bad and not report["errors"], f"{name}: {report}"
        rendered = rendered_with(values)
        assert sorted(document["kind"] for document in rendered) == kinds, name
        for version in VERSIONS:
            for document in rendered:
                validate(document, version)
        (config,) = [document for document in rendered if document["kind"] == "ConfigMap"]
        check_configuration(keyside, config["data"]["proxy.toml"])
        pod = pod_of(rendered)
        check_selectors(rendered)
        if pod is not None:
            check_pod(pod)
            check_secrets_are_optional(pod)
        print(f"chart, {name}: {len(rendered)} objects, valid for {' and '.join(VERSIONS)}")
    for values, word in REFUSED:
        try:
            chart = Chart.load(str(CHART))
            chart.validate_schema(values)
            chart.render(values, name="shop", namespace="default")
        except HelmError as error:
            assert word in str(error), f"{values}: {error}"
        else:
            raise AssertionError(f"not refused: {values}")
    print(f"chart: {len(REFUSED)} wrong values are refused")


def check_manifests(keyside):
    """The plain manifests, which are a base of Kustomize too."""
    base = DEPLOY / "kubernetes"
    kustomization = yaml.safe_load((base / "kustomization.yaml").read_text())
    assert kustomization["kind"] == "Kustomization"
    missing = [name for name in kustomization["resources"] if not (base / name).is_file()]
    assert not missing, f"kustomization.yaml names files that are not there: {missing}"
    policies = [base / "network-policy.yaml", base / "pod-monitor.yaml"]
    for path in sorted(base.glob("*.yaml")):
        found = documents(path.read_text())
        pod = pod_of(found)
        if pod is not None:
            check_pod(pod)
            check_secrets_are_optional(pod)
            check_selectors(found + [document for other in policies for document in documents(other.read_text())])
        for document in found:
            for version in VERSIONS:
                validate(document, version)
            if document["kind"] == "ConfigMap":
                check_configuration(keyside, document["data"]["proxy.toml"])
        print(f"{path.name}: {len(found)} objects, valid for {' and '.join(VERSIONS)}")


def check_package():
    """Every file that the Debian package takes is there. `cargo deb` itself is too slow to be built in each run."""
    root = DEPLOY.parent
    package = tomllib.loads((root / "Cargo.toml").read_text())["package"]["metadata"]["deb"]
    sources = [source for source, _, _ in package["assets"] if not source.startswith("target/")]
    missing = [source for source in sources if not list(root.glob(source))]
    assert not missing, f"[package.metadata.deb] names files that are not there: {missing}"
    print(f"Debian package: {len(sources)} assets are there")


def main():
    (keyside,) = sys.argv[1:]
    check_package()
    check_chart(keyside)
    check_values(keyside)
    check_dependency()
    check_manifests(keyside)


main()
