"""The manifests of deploy/kubernetes are valid, run what is installed, and give each pod no more than it needs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes_validate
import pytest
import yaml
from dagster._config import validate_config
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster_aws.ecs import EcsRunLauncher
from dagster_k8s import K8sRunLauncher

from export_pipeline.datasets.attributes import Resources
from export_pipeline.orchestration.dagster_compat.launchers import LaunchRunContext, WorkerStatus, launcher_in
from export_pipeline.orchestration.pod_size import pod_tags
from export_pipeline.settings import Settings
from export_pipeline_tests.paths import ROOT
from export_pipeline_tests.services.kubernetes import Cluster, answering
from export_pipeline_tests.tools import require_tool

FOLDER = ROOT / "deploy" / "kubernetes"
DOCS = (ROOT / "docs" / "many-machines.md").read_text()
BIN = Path(sys.executable).parent
WORKLOADS = {"Deployment", "Job", "CronJob"}
SERVERS = {"daemon", "webserver", "code-server", "api"}
Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return build(FOLDER)


def build(folder: Path) -> list[Manifest]:
    done = subprocess.run(
        [require_tool("kubectl"), "kustomize", folder], check=True, capture_output=True, text=True
    )
    return list(yaml.safe_load_all(done.stdout))


def of_kind(manifests: list[Manifest], *kinds: str) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] in kinds}


def pod_of(workload: Manifest) -> Manifest:
    spec = workload["spec"]
    template: Manifest = (
        spec["jobTemplate"]["spec"]["template"] if "jobTemplate" in spec else spec["template"]
    )
    return template


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    return {name: pod_of(each) for name, each in of_kind(manifests, *WORKLOADS).items()}


def lines(name: str) -> dict[str, str]:
    text = (FOLDER / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in text if line and not line.startswith("#"))


def validate(manifest: Manifest) -> None:
    kubernetes_validate.validate(manifest, "1.37", strict=True)


def test_kubernetes_accepts_every_manifest(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        validate(manifest)
    names = {each["metadata"]["name"]: each["kind"] for each in manifests if each["kind"] in WORKLOADS}
    assert names == dict.fromkeys(SERVERS, "Deployment") | {"migrate": "Job", "purge": "CronJob"}
    assert {each["metadata"].get("namespace") for each in manifests if each["kind"] != "Namespace"} == {
        "export-pipeline"
    }
    assert "Secret" not in {each["kind"] for each in manifests}


def test_an_invalid_manifest_is_noticed(manifests: list[Manifest]) -> None:
    pod_of(wrong := yaml.safe_load(yaml.safe_dump(of_kind(manifests, "Deployment")["api"])))["spec"][
        "containers"
    ][0]["volumeMounts"][0]["mountpath"] = "/"
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(wrong)


def test_there_is_one_daemon_at_a_time(manifests: list[Manifest]) -> None:
    spec = of_kind(manifests, "Deployment")["daemon"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_pods_have_no_more_than_they_need(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests).items():
        must_be_restricted(pod["spec"])
        assert pod["metadata"]["labels"]["app.kubernetes.io/part-of"] == "export-pipeline", name
        (container,) = pod["spec"]["containers"]
        probes = {"livenessProbe", "readinessProbe", "startupProbe"} & container.keys()
        assert len(probes) == (0 if name not in SERVERS else 1 if name == "daemon" else 3), name


def must_be_restricted(pod: Manifest) -> None:
    """Check what the Pod Security Standard "restricted" wants, a read-only root, and limits."""
    security = pod["securityContext"]
    assert (security["runAsNonRoot"], security["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    user = (security["runAsUser"], security["runAsGroup"])
    assert re.findall(r"^USER (\d+):(\d+)$", (ROOT / "deploy" / "Dockerfile").read_text(), re.M) == [
        tuple(map(str, user))
    ]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"].keys() == {"cpu", "memory", "ephemeral-storage"}
    assert container["resources"]["limits"].keys() == {"memory", "ephemeral-storage"}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    writable = {volume["name"]: volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume}
    assert {mounts[name] for name in writable} == {
        lines("settings.env")["DAGSTER_HOME"],
        lines("settings.env")["EXPORT_STAGING_URL"],
        "/tmp",
    }
    assert all(volume["sizeLimit"] for volume in writable.values())


@pytest.mark.slow
def test_programs_and_their_options_are_installed(manifests: list[Manifest]) -> None:
    commands = [pod["spec"]["containers"][0]["args"] for pod in pods(manifests).values()]
    (shell,) = [command for command in commands if command[0] == "sh"]
    commands.remove(shell)
    commands += [shlex.split(command) for command in shell[2].split("&&")]
    probe = of_kind(manifests, "Deployment")["daemon"]["spec"]["template"]["spec"]["containers"][0][
        "livenessProbe"
    ]
    commands.append(probe["exec"]["command"])
    assert len(commands) == 8
    for program, *arguments in commands:
        words = []
        for argument in arguments:
            if argument.startswith("-"):
                break
            words.append(argument)
        shown = subprocess.run(
            [BIN / program, *words, "--help"],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"COLUMNS": "200"},
        ).stdout
        for option in (argument for argument in arguments if argument.startswith("-")):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", shown), f"{program} {option}"


def test_settings_are_known(manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    known = {f"EXPORT_{name.upper()}" for name in Settings.model_fields}
    settings, secrets = lines("settings.env"), lines("secrets.env.example")
    assert settings.keys() <= known | {"DAGSTER_HOME"}
    assert secrets.keys() <= known | {"DAGSTER_POSTGRES_URL"}
    assert of_kind(manifests, "ConfigMap")["export-pipeline-settings"]["data"] == settings
    for pod in pods(manifests).values():
        (container,) = pod["spec"]["containers"]
        names = {variable["name"] for variable in container.get("env", [])}
        assert names <= {"POD_NAMESPACE", "DAGSTER_CURRENT_IMAGE"}  # of Dagster and of dagster.yaml
        assert container["envFrom"] == [
            {"configMapRef": {"name": "export-pipeline-settings"}},
            {"secretRef": {"name": "export-pipeline-secrets"}},
        ]
    for name, value in (settings | secrets).items():
        monkeypatch.setenv(name, value)
    assert str(Settings().staging_folder) == settings["EXPORT_STAGING_URL"]


def test_the_instance_differs_from_one_machine_in_the_launcher_only() -> None:
    one = yaml.safe_load((ROOT / "deploy" / "dagster-postgres.yaml").read_text())
    many = yaml.safe_load((FOLDER / "dagster.yaml").read_text())
    at_a_time = many["concurrency"]["runs"]["max_concurrent_runs"]
    assert int(lines("settings.env")["EXPORT_MAX_IN_FLIGHT"]) >= at_a_time
    for instance in (one, many):
        del instance["run_launcher"]
        del instance["run_monitoring"]["start_timeout_seconds"]
        del instance["concurrency"]["runs"]["max_concurrent_runs"]
    assert many == one


def test_runs_use_the_image_of_the_code_server(tmp_path: Path) -> None:
    for file in FOLDER.iterdir():
        text = file.read_text().replace(
            "newTag: latest", "newName: registry.example.org/exports\n    newTag: v7"
        )
        (tmp_path / file.name).write_text(text)
    for name, pod in pods(build(tmp_path)).items():
        (container,) = pod["spec"]["containers"]
        assert container["image"] == "registry.example.org/exports:v7", name
        images = [
            each["value"] for each in container.get("env", []) if each["name"] == "DAGSTER_CURRENT_IMAGE"
        ]
        assert images == (["registry.example.org/exports:v7"] if name == "code-server" else [])


def test_launchers_of_the_documentation_take_their_config() -> None:
    blocks = [
        yaml.safe_load(block) for block in re.findall(r"```yaml\n(run_launcher:.*?)```", DOCS, re.DOTALL)
    ]
    assert [block["run_launcher"]["class"] for block in blocks] == ["EcsRunLauncher", "DockerRunLauncher"]
    schema = EcsRunLauncher.config_type()
    checked = validate_config(schema, blocks[0]["run_launcher"]["config"])
    assert checked.success, checked.errors


def test_names_of_secrets_are_documented() -> None:
    assert "--from-env-file=secrets.env" in DOCS
    assert "`secrets.env.example`" in DOCS
    values = yaml.safe_load(re.findall(r"```yaml\n(dagster-user.*?)```", DOCS, re.DOTALL)[0])
    server, launcher = (
        values["dagster-user-deployments"]["deployments"][0],
        values["runLauncher"]["config"]["k8sRunLauncher"],
    )
    ours = yaml.safe_load((FOLDER / "dagster.yaml").read_text())["run_launcher"]["config"]
    for part in (server, launcher):
        assert [each["name"] for each in part["envSecrets"]] == ours["env_secrets"]
        assert [each["name"] for each in part["envConfigMaps"]] == ours["env_config_maps"]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    with answering(cluster):
        yield cluster


IMAGE = "registry.example.org/exports:v7"


@pytest.fixture
def launcher(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[K8sRunLauncher]:
    """The launcher of our dagster.yaml, of an instance in memory."""
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql://db/dagster")
    (tmp_path / "dagster.yaml").write_text((FOLDER / "dagster.yaml").read_text())
    launcher = launcher_in(tmp_path)
    assert isinstance(launcher, K8sRunLauncher)
    with dg.DagsterInstance.ephemeral() as instance:
        launcher.register_instance(instance)
        monkeypatch.setattr(instance, "get_ref", lambda: None)
        yield launcher


def launch(launcher: K8sRunLauncher, tags: Mapping[str, str] | None = None) -> dg.DagsterRun:
    """Launch a run whose code server has the image `IMAGE`."""
    module = ModuleCodePointer("export_pipeline.definitions", "defs")
    code = RepositoryPythonOrigin("python", module, IMAGE, entry_point=["dagster"])
    run = dg.DagsterRun("orders_on_demand_job", job_code_origin=JobPythonOrigin("orders", code), tags=tags)
    launcher._instance.add_run(run)
    launcher.launch_run(LaunchRunContext(run, None))
    return run


def test_a_run_is_one_pod_with_a_folder_of_its_own(
    cluster: Cluster, launcher: K8sRunLauncher, manifests: list[Manifest]
) -> None:
    launch(launcher)
    (job,) = cluster.jobs
    validate(job)
    pod = job["spec"]["template"]
    must_be_restricted(pod["spec"])
    assert set(pod["metadata"]["annotations"].values()) == {"false", "true"}  # safe to evict, not to disrupt
    assert job["spec"]["backoffLimit"] == 0  # the ledger decides who tries again
    assert (pod["spec"]["serviceAccountName"], pod["spec"]["automountServiceAccountToken"]) == (
        "export-pipeline-runs",
        False,
    )
    assert pod["metadata"]["labels"]["app.kubernetes.io/part-of"] == "export-pipeline"  # network.yaml
    (container,) = pod["spec"]["containers"]
    assert (container["image"], container["args"][:3]) == (IMAGE, ["dagster", "api", "execute_run"])
    assert "command" not in container  # which would go past the image's umask
    server = pods(manifests)["api"]["spec"]
    assert container["envFrom"] == server["containers"][0]["envFrom"]
    config = next(volume for volume in server["volumes"] if volume["name"] == "config")
    assert config in pod["spec"]["volumes"]
    mounts = [mount for mount in server["containers"][0]["volumeMounts"] if mount.get("subPath")]
    assert [mount for mount in container["volumeMounts"] if mount.get("subPath")] == mounts


def test_tags_of_a_run_change_its_size_only(cluster: Cluster, launcher: K8sRunLauncher) -> None:
    launch(launcher, pod_tags(Resources(cpu=2, memory="4Gi")))
    (job,) = cluster.jobs
    validate(job)
    must_be_restricted(job["spec"]["template"]["spec"])
    resources = job["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources["limits"] == {"memory": "4Gi", "ephemeral-storage": "20Gi"}
    assert resources["requests"] == {"cpu": "2", "memory": "4Gi", "ephemeral-storage": "2Gi"}
    for wrong in ({"pod_spec_config": {"host_network": True}}, {"container_config": {"image": "other"}}):
        with pytest.raises(Exception, match="violated the allowed list"):
            launch(launcher, {"dagster-k8s/config": json.dumps(wrong)})
    assert len(cluster.jobs) == 1


def test_service_accounts_may_do_what_their_processes_do(
    cluster: Cluster, launcher: K8sRunLauncher, manifests: list[Manifest]
) -> None:
    assert needed(cluster, lambda: launch(launcher)) == {("create", "jobs")}
    run = launch(launcher)
    seen = needed(cluster, lambda: health(launcher, run))
    ended = needed(cluster, lambda: launcher.terminate(run.run_id))
    assert rights(manifests, "webserver") == ended
    assert rights(manifests, "code-server") == seen
    explains = {("list", "jobs"), ("get", "pods"), ("get", "pods/log"), ("list", "events")}
    assert rights(manifests, "daemon") == {("create", "jobs")} | seen | ended | explains
    for name in ("api", "migrate", "purge"):
        assert pods(manifests)[name]["spec"]["serviceAccountName"] == "export-pipeline-runs"


def test_pods_that_load_the_launcher_have_its_token_and_namespace(manifests: list[Manifest]) -> None:
    """Every program of Dagster loads it, `dagster instance migrate` too. Ours do not."""
    accounts = of_kind(manifests, "ServiceAccount")
    for name, pod in pods(manifests).items():
        spec = pod["spec"]
        account = accounts[spec["serviceAccountName"]].get("automountServiceAccountToken", True)
        loads = "dagster" in " ".join(spec["containers"][0]["args"])
        assert spec.get("automountServiceAccountToken", account) is loads, name
        variables = [each["name"] for each in spec["containers"][0].get("env", [])]
        assert ("POD_NAMESPACE" in variables) is loads, name


def health(launcher: K8sRunLauncher, run: dg.DagsterRun) -> None:
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING


def needed(cluster: Cluster, act: Callable[[], object]) -> set[tuple[str, str]]:
    """Return the calls of an action."""
    cluster.calls.clear()
    act()
    return set(cluster.calls)


def rights(manifests: list[Manifest], name: str) -> set[tuple[str, str]]:
    """Return what the pods of a Deployment may do, as (verb, resource)."""
    account = of_kind(manifests, "Deployment")[name]["spec"]["template"]["spec"]["serviceAccountName"]
    roles = [
        binding["roleRef"]["name"]
        for binding in of_kind(manifests, "RoleBinding").values()
        if binding["subjects"][0]["name"] == account
    ]
    rules = [rule for role in roles for rule in of_kind(manifests, "Role")[role]["rules"]]
    return {(verb, resource) for rule in rules for verb in rule["verbs"] for resource in rule["resources"]}


def test_only_daemon_and_webserver_reach_the_code_server(manifests: list[Manifest]) -> None:
    policies = of_kind(manifests, "NetworkPolicy")
    everything = policies["export-pipeline"]["spec"]
    assert "ingress" not in everything
    assert set(everything["policyTypes"]) == {"Ingress", "Egress"}
    (rule,) = policies["code-server"]["spec"]["ingress"]
    assert {each["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for each in rule["from"]} == {
        "daemon",
        "webserver",
    }
    workspace = yaml.safe_load((FOLDER / "workspace.yaml").read_text())["load_from"][0]["grpc_server"]
    service = of_kind(manifests, "Service")[workspace["host"]]["spec"]
    assert service["ports"][0]["port"] == workspace["port"]


def test_services_and_probes_lead_to_open_ports(manifests: list[Manifest]) -> None:
    for name, service in of_kind(manifests, "Service").items():
        (container,) = of_kind(manifests, "Deployment")[name]["spec"]["template"]["spec"]["containers"]
        (port,) = container["ports"]
        assert service["spec"]["ports"][0]["targetPort"] == port["containerPort"]
        assert str(port["containerPort"]) in container["args"]
        for probe in (value for key, value in container.items() if key.endswith("Probe")):
            ((_, target),) = [item for item in probe.items() if isinstance(item[1], dict)]
            assert target["port"] == port["containerPort"]
