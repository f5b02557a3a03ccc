"""Every optimiser option with each workload, in each mode: it does something there, or is refused by name."""
import subprocess

import pytest

from processes import BINARY

LATE = ('--step-time', 'const:10ms', '--delay', 'const:40ms')
MODES = {
    'run': ('run', '-n', 2),
    'join': ('join', '--expect', 1),
    'sim': ('sim', '-n', 4, *LATE, '--flush', 'step'),
    'server': ('sim', '-n', 4, *LATE, '--topology', 'server'),
}
OPTIONS = [
    ('--lr', .001), ('--lambda', .01), ('--batch', 7), ('--momentum', .5), ('--nesterov', '--momentum', .5), ('--clip', .01),
    ('--dropout', .3), ('--schedule', 'constant'), ('--schedule', 'linear'), ('--schedule', 'step'), ('--schedule', 'cosine'),
    ('--schedule', 'inverse', '--lambda', .01), ('--compensate', 1), ('--compensate', 'adaptive:1'), ('--staleness-aware',), ('--warmup', 300),
    ('--combine', 'sum'), ('--combine', 'mean'), ('--combine', 'amplify'), ('--combine', 'hold'),
    ('--combine', 'lookahead'), ('--combine', 'lookahead', '--momentum', .5), ('--combine', 'saturate'), ('--amplify', 3),
    ('--coarser', 3), ('--top', .01),
]

# (workload, mode, flags): what the refusal says. None stands for all of them.
REFUSED = {
    ('lenet5', None, ('--schedule', 'inverse')): "--schedule inverse is the svm's",
    ('svm', 'run', ('--combine', 'lookahead')): 'add --momentum',
    ('svm', 'join', ('--combine', 'lookahead')): 'add --momentum',
    ('svm', 'sim', ('--combine', 'lookahead')): 'add --momentum',
    **{(None, 'server', ('--combine', rule)): '--combine and --amplify are for meshes'
       for rule in ('mean', 'amplify', 'hold', 'lookahead', 'saturate')},
    (None, None, ('--combine', 'saturate')): 'which is for word2vec',
    (None, 'server', ('--top', .01)): '--top is for meshes',
    (None, 'server', ('--amplify', 3)): '--combine and --amplify are for meshes',
}


def refusal(workload, mode, flags):
    for (a, b, begins), says in REFUSED.items():
        if a in (None, workload) and b in (None, mode) and flags[:len(begins)] == begins and \
                (a != 'svm' or '--momentum' not in flags):
            return says
    return None


@pytest.fixture(scope='module')
def data(tmp_path_factory, small):
    images = tmp_path_factory.mktemp('images')
    subprocess.run([BINARY, 'synth', 'lenet5', '--out', images, '--rows', '500', '--quiet'], check=True)
    return {'svm': ('--train', small.train, '--test', small.test, '--steps', 4000, '--batch', 20),
            'lenet5': ('--data', images, '--steps', 640, '--batch', 32)}


@pytest.fixture(scope='module')
def loss_without(data, tmp_path_factory):
    """What comes out when no option is given."""
    from processes import Hogmesh
    known = {}

    def loss(workload, mode):
        if (workload, mode) not in known:
            command, *rest = MODES[mode]
            folder = tmp_path_factory.mktemp('without')
            process = Hogmesh(folder, command, workload, *rest, *data[workload], '--json', '--quiet')
            known[workload, mode] = process.done()['test']['loss']
        return known[workload, mode]
    return loss


# In virtual time, where all else is equal; and rules that are the default anyway, which the rule of one node is as well.
def has_effect(workload, mode, flags):
    usual = ('--combine', 'amplify') if workload == 'svm' else ('--combine', 'hold')
    usual_schedule = ('--schedule', 'step') if workload == 'lenet5' else ('--schedule', 'inverse')
    if mode == 'server' and flags[0] in ('--combine', '--amplify'):
        return False
    return mode in ('sim', 'server') and flags not in (usual, usual_schedule)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('flags', OPTIONS, ids=lambda flags: ' '.join(map(str, flags)))
@pytest.mark.parametrize('workload', ['svm', 'lenet5'])
def test_works_or_is_refused(run, data, loss_without, workload, flags, mode):
    command, *rest = MODES[mode]
    process = run(command, workload, *rest, *data[workload], *flags, '--json', '--quiet')
    says = refusal(workload, mode, flags)
    if says:
        assert process.code == 2 and says in process.err, str(process)
        return
    summary = process.done()
    assert summary['clean'] and summary['equal_hashes'] and summary['steps'] >= 640
    if has_effect(workload, mode, flags):
        assert summary['test']['loss'] != pytest.approx(loss_without(workload, mode), rel=1e-7)
