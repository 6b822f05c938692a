#!/usr/bin/env python3
"""Looks at deploy/ with outside validators, and whether its files know of each other.

    tests/deploy/check.py TRANSOM

Kubernetes' own schemas (strict), those of compose, GitLab and GitHub, and `transom check` for every
config. Patches are checked merged with what they change.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
# Of kustomize and cert-manager: not among Kubernetes' own.
FOREIGN = {"kustomize.config.k8s.io/v1beta1", "cert-manager.io/v1"}
# Lists that are merged by a key of their items; the others are replaced.
KEYS = {"containers": "name", "volumes": "name", "volumeMounts": "mountPath", "ports": "containerPort"}
faults = []


def check(is_so, words):
    if not is_so:
        faults.append(words)


def load(path):
    return [d for d in yaml.safe_load_all(path.read_text()) if d]


def merge(base, patch, key=""):
    """A strategic merge, as far as ours need it."""
    if isinstance(base, dict) and isinstance(patch, dict):
        return {k: merge(base[k], patch[k], k) if k in base and k in patch else patch.get(k, base.get(k))
                for k in {**base, **patch}}
    by = KEYS.get(key)
    if isinstance(base, list) and isinstance(patch, list) and by and all(by in i for i in base + patch):
        found = {i[by]: i for i in base}
        for item in patch:
            found[item[by]] = merge(found[item[by]], item) if item[by] in found else item
        return list(found.values())
    return patch


def identity(document):
    return document["apiVersion"], document["kind"], document["metadata"]["name"]


def build(folder):
    """What the kustomization stands for: its documents and its ConfigMaps' files."""
    [kustomization] = load(folder / "kustomization.yaml")
    documents, maps = {}, {}
    for name in kustomization["resources"]:
        path = (folder / name).resolve()
        check(path.exists(), f"{folder}: {name} isn't there")
        if path.is_dir():
            more, theirs = build(path)
            documents.update(more)
            maps.update(theirs)
        else:
            for document in load(path):
                check(identity(document) not in documents, f"{path}: {identity(document)} is there twice")
                documents[identity(document)] = document
    for patch in kustomization.get("patches", []):
        for document in load(folder / patch["path"]):
            known = documents.get(identity(document))
            check(known, f"{folder}/{patch['path']}: nothing to patch")
            documents[identity(document)] = merge(known or {}, document)
    for generated in kustomization.get("configMapGenerator", []):
        name = generated["name"]
        check((name in maps) == (generated.get("behavior") == "merge"), f"{folder}: behavior of {name}")
        files = {(folder / f).name: folder / f for f in generated["files"]}
        maps[name] = {**maps.get(name, {}), **files}
    for name, files in maps.items():
        for path in files.values():
            check(path.is_file(), f"{folder}: {path} of {name} isn't there")
    return documents, maps


def one(documents, kind):
    [found] = [d for d in documents.values() if d["kind"] == kind and d["metadata"]["name"] == "transom"]
    return found


def agree(folder, documents, maps, transom):
    """What the manifests say of each other, and of the config."""
    pod = one(documents, "Deployment")["spec"]["template"]
    [container] = pod["spec"]["containers"]
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    for service in (d for d in documents.values() if d["kind"] == "Service"):
        labels = pod["metadata"]["labels"].items()
        check(service["spec"]["selector"].items() <= labels, f"{folder}: a service that selects nothing")
        for port in service["spec"]["ports"]:
            check(port["targetPort"] in ports, f"{folder}: service port {port['name']} leads nowhere")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        check(container[probe]["httpGet"]["port"] in ports, f"{folder}: {probe} asks nobody")
    volumes = {v["name"]: v for v in pod["spec"]["volumes"]}
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    check(volumes.keys() == mounts.keys(), f"{folder}: volumes {set(volumes) ^ set(mounts)} aren't used or aren't there")
    claims = {d["metadata"]["name"] for d in documents.values() if d["kind"] == "PersistentVolumeClaim"}
    secrets = {d["spec"]["secretName"] for d in documents.values() if d["kind"] == "Certificate"}
    for volume in volumes.values():
        check(volume.get("persistentVolumeClaim", {}).get("claimName") in {None, *claims}, f"{folder}: {volume}")
        check(volume.get("secret", {}).get("secretName") in {None, *secrets}, f"{folder}: {volume}")

    config = yaml.safe_load(maps["transom-config"]["transom.yaml"].read_text())
    listeners = [int(i["address"].rsplit(":", 1)[1]) for i in [*config["listeners"], config["probes"]]]
    check(sorted(listeners) == sorted(ports.values()), f"{folder}: ports {listeners} in the config, {ports} in the pod")
    grace = pod["spec"]["terminationGracePeriodSeconds"]
    check(grace >= 5 + 20 + 3, f"{folder}: {grace} s are too few for the delay and the drain")

    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        text = maps["transom-config"]["transom.yaml"].read_text()
        for name, mount in mounts.items():
            text = text.replace(mount + "\n", f"{scratch}{mount}\n").replace(mount + "/", f"{scratch}{mount}/")
            items = volumes[name].get("configMap", {}).get("items", [])
            for item in items:
                source = maps[volumes[name]["configMap"]["name"]].get(item["key"])
                check(source, f"{folder}: no {item['key']} in {volumes[name]['configMap']['name']}")
                path = scratch / mount.lstrip("/") / item["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(source.read_text())
        (scratch / "transom.yaml").write_text(text)
        run(transom, "check", "-c", scratch / "transom.yaml")


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    check(done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def valid(document, where):
    if document["apiVersion"] in FOREIGN:
        return
    try:
        kubernetes_validate.validate(document, "1.32.0", strict=True)
    except kubernetes_validate.ValidationError as error:
        faults.append(f"{where}: {document['kind']}: {error.message} at {'.'.join(map(str, error.path))}")


def main():
    transom = Path(sys.argv[1]).resolve()
    count = 0
    for folder in [KUBERNETES / "base", *sorted((KUBERNETES / "overlays").iterdir())]:
        documents, maps = build(folder)
        for document in documents.values():
            valid(document, folder)
            count += 1
        agree(folder, documents, maps, transom)
    for path in sorted((KUBERNETES / "examples").glob("*.yaml")):
        for document in load(path):
            valid(document, path)
            count += 1
    run(transom, "check", "-c", compose_config())
    schemas = {
        "compose-spec": DEPLOY / "compose" / "compose.yaml",
        "gitlab-ci": [ROOT / ".gitlab-ci.yml", DEPLOY / "ci" / "config-repository.gitlab-ci.yml"],
        "github-workflows": ROOT / ".github" / "workflows" / "test.yml",
    }
    for schema, files in schemas.items():
        files = files if isinstance(files, list) else [files]
        run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *files)
    if faults:
        sys.exit("\n".join(faults))
    print(f"{count} manifests, {len(schemas)} kinds of CI and compose files and every config are right")


def compose_config():
    """The config as the containers have it, with what is mounted there from here."""
    text = (DEPLOY / "compose" / "config" / "transom.yaml").read_text()
    path = Path(tempfile.mkdtemp()) / "transom.yaml"
    path.write_text(text.replace("/protos", str(ROOT / "proto")))
    return path


if __name__ == "__main__":
    main()
