"""tools/deploy: the manifests by schema, the scripts run here, the unit and the package as far as their own tools look."""
import os
import pathlib
import re
import shutil
import signal
import subprocess

import jsonschema
import pytest
import yaml

import processes
from processes import free_port, until

FOLDER = processes.ROOT / 'tools' / 'deploy'
PATH = f'{pathlib.Path(processes.BINARY).parent}:{os.environ["PATH"]}'

# Of the kinds that are used, what is used of them: any other word is a slip.
NAME = {'type': 'string', 'pattern': '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'}
LABELS = {'type': 'object', 'additionalProperties': {'type': 'string'}}
PORT = {'type': 'integer', 'minimum': 1, 'maximum': 65535}


def exactly(required='', **properties):
    """An object with these properties and no other ones."""
    return {'type': 'object', 'properties': properties, 'required': required.split(), 'additionalProperties': False}


def some(schema):
    return {'type': 'array', 'items': schema, 'minItems': 1}


TEXT, COUNT, TRUE, FALSE = {'type': 'string'}, {'type': 'integer', 'minimum': 0}, {'const': True}, {'const': False}
META = exactly('name labels', name=NAME, labels=LABELS)
SELECTOR = exactly('matchLabels', matchLabels=LABELS)
PROBE = exactly('exec', exec=exactly('command', command=some(TEXT)), periodSeconds=COUNT, timeoutSeconds=COUNT, failureThreshold=COUNT)
QUANTITIES = {'type': 'object', 'additionalProperties': {'type': 'string', 'pattern': '^[0-9]+(m|Ki|Mi|Gi)?$'}}
MOUNT = exactly('name mountPath', name=NAME, mountPath={'type': 'string', 'pattern': '^/'}, readOnly={'type': 'boolean'})
CONTAINER = exactly('name image securityContext startupProbe readinessProbe livenessProbe resources', name=NAME, image=TEXT, command=some(TEXT),
                    envFrom=some(exactly(configMapRef=exactly('name', name=NAME))),
                    env=some(exactly('name', name=TEXT, value=TEXT, valueFrom=exactly(fieldRef=exactly('fieldPath', fieldPath=TEXT)))),
                    ports=some(exactly('name containerPort', name=NAME, containerPort=PORT)),
                    resources=exactly('requests limits', requests=QUANTITIES, limits=QUANTITIES),
                    securityContext=exactly('allowPrivilegeEscalation readOnlyRootFilesystem capabilities', allowPrivilegeEscalation=FALSE,
                                            readOnlyRootFilesystem=TRUE, capabilities={'const': {'drop': ['ALL']}}),
                    startupProbe=PROBE, readinessProbe=PROBE, livenessProbe=PROBE, volumeMounts=some(MOUNT))
VOLUME = exactly('name', name=NAME, persistentVolumeClaim=exactly('claimName', claimName=NAME, readOnly={'type': 'boolean'}),
                 secret=exactly('secretName', secretName=NAME, defaultMode={'type': 'integer', 'minimum': 0, 'maximum': 0o777}),
                 emptyDir=exactly(medium={'enum': ['', 'Memory']}, sizeLimit=TEXT))
POD = exactly('securityContext containers volumes', terminationGracePeriodSeconds=COUNT, automountServiceAccountToken=FALSE,
              securityContext=exactly('runAsNonRoot seccompProfile', runAsNonRoot=TRUE, runAsUser={'type': 'integer', 'minimum': 1},
                                      runAsGroup=COUNT, fsGroup=COUNT, seccompProfile={'const': {'type': 'RuntimeDefault'}}),
              affinity=exactly(podAntiAffinity=exactly(preferredDuringSchedulingIgnoredDuringExecution=some(exactly(
                  'weight podAffinityTerm', weight=COUNT, podAffinityTerm=exactly('topologyKey', topologyKey=TEXT, labelSelector=SELECTOR))))),
              containers=some(CONTAINER), volumes=some(VOLUME))
CLAIM = exactly('metadata spec', metadata=META, spec=exactly('accessModes resources', accessModes=some({'enum': ['ReadWriteOnce']}),
                                                            resources=exactly('requests', requests=QUANTITIES)))
SCHEMAS = {
    'Service': ('v1', dict(spec=exactly('selector ports clusterIP', clusterIP={'const': 'None'}, publishNotReadyAddresses=TRUE, selector=LABELS,
                                        ports=some(exactly('name port', name=NAME, port=PORT, targetPort=PORT))))),
    'PodDisruptionBudget': ('policy/v1', dict(spec=exactly('maxUnavailable selector', maxUnavailable={'const': 1}, selector=SELECTOR))),
    'ConfigMap': ('v1', dict(data={'type': 'object', 'additionalProperties': TEXT})),
    'StatefulSet': ('apps/v1', dict(spec=exactly('serviceName replicas selector template', serviceName=NAME, replicas=COUNT,
                                                 podManagementPolicy={'const': 'Parallel'}, selector=SELECTOR,
                                                 template=exactly('metadata spec', metadata=exactly('labels', labels=LABELS), spec=POD),
                                                 volumeClaimTemplates=some(CLAIM)))),
}


@pytest.fixture(scope='module')
def objects():
    documents = list(yaml.safe_load_all((FOLDER / 'kubernetes' / 'hogmesh.yaml').read_text()))
    return {one['kind']: one for one in documents}


def test_manifests_by_schema(objects):
    assert set(objects) == set(SCHEMAS)
    for kind, (version, rest) in SCHEMAS.items():
        schema = exactly(' '.join(['apiVersion kind metadata', *rest]), apiVersion={'const': version}, kind={'const': kind}, metadata=META, **rest)
        jsonschema.Draft7Validator.check_schema(schema)
        jsonschema.validate(objects[kind], schema)


def test_manifests_fit_together(objects):
    """Also what no schema sees. Names of namespaces are nowhere: they are the user's."""
    state, service, data = objects['StatefulSet']['spec'], objects['Service'], objects['ConfigMap']['data']
    labels = state['template']['metadata']['labels']
    assert labels == state['selector']['matchLabels'] == service['spec']['selector']
    assert labels == objects['PodDisruptionBudget']['spec']['selector']['matchLabels']
    assert state['serviceName'] == service['metadata']['name']
    container, = state['template']['spec']['containers']
    assert {port['containerPort'] for port in container['ports']} == {port['targetPort'] for port in service['spec']['ports']} == {7000, 7001}
    assert container['envFrom'][0]['configMapRef']['name'] == objects['ConfigMap']['metadata']['name']
    assert int(data['REPLICAS']) == state['replicas'] == int(re.search(r'--expect (\d+)', data['HOGMESH_FLAGS']).group(1))
    volumes = {volume['name'] for volume in state['template']['spec']['volumes']} | {one['metadata']['name'] for one in state['volumeClaimTemplates']}
    assert {mount['name'] for mount in container['volumeMounts']} == volumes
    assert {mount['mountPath'] for mount in container['volumeMounts']} == {'/state', '/data', '/secret', '/run/hogmesh'}
    assert container['command'][0] == '/usr/local/bin/hogmesh-pod' in (FOLDER / 'Containerfile').read_text()
    assert 'namespace' not in str(objects)


def test_kubeconform_agrees_where_it_is():
    if shutil.which('kubeconform'):
        subprocess.run(['kubeconform', '-strict', FOLDER / 'kubernetes' / 'hogmesh.yaml'], check=True)


class Pods:
    """pod.sh, each with a volume of its own, on loopback."""

    def __init__(self, start, folder, n, key, flags):
        self.start, self.folder, self.key, self.flags = start, folder, key, flags
        self.addresses = [f'127.0.0.1:{free_port()}' for _ in range(n)]

    def env(self, i):
        state = self.folder / f'state{i}'
        state.mkdir(exist_ok=True)
        return dict(POD_NAME=f'hogmesh-{i}', PEERS=' '.join(self.addresses), ADDRESS=self.addresses[i], STATE=str(state), KEY=str(self.key),
                    RUN=str(self.folder / f'run{i}'), HOGMESH_FLAGS=self.flags, HOGMESH_PROBE=self.addresses[i], PROBE_TIMEOUT='2s', REJOIN_TIMEOUT='4s', STAY='no', PATH=PATH)

    def run(self, i):
        return self.start(program=(str(FOLDER / 'kubernetes' / 'pod.sh'),), env=self.env(i))

    def probe(self, i):
        return subprocess.run([FOLDER / 'kubernetes' / 'pod.sh', 'probe'], env={**os.environ, **self.env(i)}, check=False, timeout=30,
                              capture_output=True).returncode

    def models(self, n):
        return {(self.folder / f'state{i}' / 'model.hm').read_bytes() for i in range(n)}


@pytest.fixture
def secret(run, tmp_path):
    """A key as Kubernetes mounts it: a link to a file that more than its owner may read."""
    assert run('keygen', tmp_path / 'file').code == 0
    (tmp_path / 'file').chmod(0o440)
    (tmp_path / 'mesh.key').symlink_to('file')
    return tmp_path / 'mesh.key'


def test_pods(start, small, tmp_path, secret):
    """They train, answer probes, come back after a crash and know when it is over."""
    pods = Pods(start, tmp_path, 3, secret, f'svm --train {small.train} --expect 3 --seconds 8 --checkpoint-every .5s')
    assert pods.probe(2) != 0
    running = [pods.run(i) for i in range(3)]
    for one in running:
        one.wait_for('train ')
    until(lambda: (tmp_path / 'state2' / 'hogmesh-2.ckpt').exists(), 20, lambda: str(running[2]))
    node = next(pid for pid in running[2].session() if pid != running[2].pid and b'join' in open(f'/proc/{pid}/cmdline', 'rb').read())
    os.kill(node, signal.SIGKILL)
    assert running[2].wait(20).code == 137
    running[2] = pods.run(2)
    assert pods.probe(1) == 0
    for one in running:
        assert one.wait(60).code == 0, one
    assert '--resume' not in running[2].err and len(pods.models(3)) == 1
    assert 'the training is over' in running[0].err and pods.probe(0) == 0
    assert pods.run(0).wait(10).code == 0


def test_pods_after_the_power_failed(start, small, tmp_path, secret):
    """Nobody is there to be joined: they go on from their checkpoints, the first as it did at first."""
    pods = Pods(start, tmp_path, 2, secret, f'svm --train {small.train} --expect 2 --seconds 5 --checkpoint-every .3s --join-timeout 60s')
    running = [pods.run(i) for i in range(2)]
    for i in range(2):
        until(lambda: (tmp_path / f'state{i}' / f'hogmesh-{i}.ckpt').exists(), 30, lambda: str(running[i]))
    for one in running:
        one.kill()
    running = [pods.run(i) for i in range(2)]
    for one in running:
        assert one.wait(90).code == 0, one
    assert len(pods.models(2)) == 1


def test_a_pod_that_is_told_to_go(start, small, tmp_path, secret):
    pods = Pods(start, tmp_path, 1, secret, f'svm --train {small.train} --expect 1 --seconds 60')
    one = pods.run(0)
    one.wait_for('train ')
    os.kill(one.pid, signal.SIGTERM)
    assert one.wait(20).code == 0 and not (tmp_path / 'state0' / 'hogmesh-0.done').exists()
    assert (tmp_path / 'state0' / 'hogmesh-0.ckpt').exists() and not one.session()


# Slurm

@pytest.fixture
def slurm(tmp_path):
    """srun and scontrol of a cluster whose nodes are addresses of loopback."""
    folder = tmp_path / 'slurm'
    folder.mkdir()
    (folder / 'scontrol').write_text('#!/bin/sh\nfor n in $(echo "$3" | tr , " "); do echo "$n"; done\n')
    (folder / 'srun').write_text('#!/bin/sh\nshift\npids=\nfor n in $(echo "$SLURM_JOB_NODELIST" | tr , " "); do SLURMD_NODENAME=$n "$@" & pids="$pids $!"; done\n'
                                 'trap \'kill -TERM $pids\' TERM\nfor p in $pids; do wait "$p"; done\nfor p in $pids; do wait "$p" || exit 1; done\n')
    for name in 'scontrol', 'srun':
        (folder / name).chmod(0o755)
    nodes = ','.join(f'127.0.{1 + os.getpid() % 250}.{i}' for i in (1, 2, 3))
    return dict(PATH=f'{folder}:{PATH}', SLURM_JOB_NODELIST=nodes, HOGMESH_PORT=str(free_port()), SLURM_CPUS_PER_TASK='1')


def test_slurm_job(start, small, tmp_path, slurm):
    job = start('svm', '--train', small.train, '--seconds', 1, '--json', '--out', 'out', program=(str(FOLDER / 'hogmesh.sbatch'),), env=slurm).wait(60)
    assert job.code == 0, job
    hashes = re.findall('"model_hash":"([0-9a-f]+)"', job.out)
    assert len(hashes) == 3 and len(set(hashes)) == 1
    assert len(list((tmp_path / 'out').glob('*.ckpt'))) == 3


def test_slurm_job_whose_time_is_over(start, small, tmp_path, slurm):
    job = start('svm', '--train', small.train, '--seconds', 60, '--out', 'out', program=(str(FOLDER / 'hogmesh.sbatch'),), env=slurm)
    job.wait_for('train.*\n.*train.*\n')
    os.kill(job.pid, signal.SIGTERM)
    assert job.wait(30).code == 0, job
    assert len(list((tmp_path / 'out').glob('*.ckpt'))) == 3


def test_scripts_are_sound():
    if shutil.which('shellcheck'):
        subprocess.run(['shellcheck', FOLDER / 'hogmesh.sbatch', FOLDER / 'kubernetes' / 'pod.sh', FOLDER / 'build-deb'], check=True)


# Container, unit, package

def test_containerfile():
    """It ends as somebody who is not root, copies what is there, and has the libraries that the program wants."""
    text = (FOLDER / 'Containerfile').read_text()
    stages = re.split(r'^FROM ', text, flags=re.M)[1:]
    assert len(stages) == 2 and all(stage.startswith('docker.io/library/debian:12-slim') for stage in stages)
    assert re.findall(r'^USER (.*)$', stages[1], re.M)[-1] == '10001:10001'
    for source in re.findall(r'COPY --from=build /src/(\S+)', text):
        assert (processes.ROOT / source).exists(), source
    needed = re.findall(r'NEEDED +(\S+)', subprocess.run(['objdump', '-p', processes.BINARY], capture_output=True, text=True, check=True).stdout)
    needed = [library for library in needed if not library.startswith(('libc.', 'libm.', 'ld-', 'libgcc', 'libasan', 'libubsan'))]
    packages = re.findall(r'\b(lib[\w-]+|zlib1g)\b', stages[1].partition('&& rm')[0])
    files = ''.join(path.read_text() for name in packages for path in pathlib.Path('/var/lib/dpkg/info').glob(f'{name}*.list'))
    assert len(needed) >= 7
    for library in needed:
        assert f'/{library}\n' in files, f'{library} is of none of {packages}'


@pytest.mark.skipif(not shutil.which('systemd-analyze'), reason='systemd is missing')
def test_unit(tmp_path):
    """systemd finds nothing wrong, but that the program is not installed here; and the unit is locked up."""
    unit = tmp_path / 'hogmesh@.service'
    shutil.copy(FOLDER / 'hogmesh@.service', unit)
    done = subprocess.run(['systemd-analyze', 'verify', '--man=no', unit], capture_output=True, text=True, check=False)
    wrong = [line for line in done.stderr.splitlines() if 'hogmesh' in line and 'not executable' not in line]
    assert not wrong, done
    done = subprocess.run(['systemd-analyze', 'security', '--offline=true', '--no-pager', '--threshold=20', unit], capture_output=True, text=True,
                          check=False)
    assert done.returncode == 0, done.stdout[-400:]


def test_package_is_of_this_version():
    changelog = (FOLDER / 'debian' / 'changelog').read_text()
    version = subprocess.run([processes.BINARY, '--version'], capture_output=True, text=True, check=True).stdout.split()[1]
    assert changelog.startswith(f'hogmesh ({version}) ')
    for name in 'hogmesh.install', 'hogmesh.docs', 'hogmesh.examples':
        for line in (FOLDER / 'debian' / name).read_text().split('\n'):
            source = line.split(' ')[0]
            assert not source or source.startswith('usr/') or (processes.ROOT / source).exists(), source
