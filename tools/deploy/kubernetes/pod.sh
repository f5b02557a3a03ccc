#!/bin/sh
# What a pod of the StatefulSet runs (tools/deploy/kubernetes/hogmesh.yaml): one node, again after each crash, and nothing
# when the training is over, for a StatefulSet would start it anew.
#
#     pod.sh          the node
#     pod.sh probe    succeeds while it answers, and when it has ended well
#
# Environment: POD_NAME, REPLICAS; HOGMESH_FLAGS, words for `hogmesh join`. SERVICE (hogmesh), PORT (7000), STATE (/state), KEY
# (the secret as it is mounted; empty: none), RUN (/run/hogmesh, in memory). For trials elsewhere PEERS lists addresses in the place
# of those of the pods, and ADDRESS is the own one among them.
set -u
: "${POD_NAME:?}" "${SERVICE:=hogmesh}" "${PORT:=7000}" "${STATE:=/state}" "${RUN:=/run/hogmesh}" "${KEY=/secret/mesh.key}"
if [ -z "${ADDRESS:-}" ]; then
    ADDRESS=$POD_NAME.$SERVICE:$PORT
    set_of=${POD_NAME%-*} PEERS='' i=0
    while [ "$i" -lt "${REPLICAS:?}" ]; do
        PEERS="$PEERS $set_of-$i.$SERVICE:$PORT"
        i=$((i + 1))
    done
    bind="0.0.0.0:$PORT"
else
    bind=$ADDRESS PORT=${ADDRESS##*:}
fi

# A secret is mounted as a link that root owns; a key has to be a file of its user's alone.
key=
if [ -n "$KEY" ]; then
    key=$RUN/mesh.key
    [ "${1:-}" = probe ] || install -D -m 600 "$KEY" "$key" || exit 1
fi

if [ "${1:-}" = probe ]; then
    [ -e "$STATE/$POD_NAME.done" ] || exec hogmesh status "${HOGMESH_PROBE:-127.0.0.1:$PORT}" ${key:+--key "$key"} --timeout "${PROBE_TIMEOUT:-5s}" >/dev/null
    exit 0
fi

all='' others=''
for peer in $PEERS; do
    all="$all --peer $peer"
    [ "$peer" = "$ADDRESS" ] || others="$others --peer $peer"
done

child=
trap '[ -z "$child" ] || kill -TERM "$child"; stopped=yes' TERM INT
stopped=no
# node PEERS FLAG...: runs it and returns its status; a signal is passed on and does not end the waiting.
node() {
    # shellcheck disable=SC2086  # words
    hogmesh join $HOGMESH_FLAGS --label "$POD_NAME" --bind "$bind" --advertise "$ADDRESS" ${key:+--key "$key"} --out "$STATE" "$@" &
    child=$!
    wait "$child"
    status=$?
    while kill -0 "$child" 2>/dev/null; do
        wait "$child"
        status=$?
    done
    child=
    return "$status"
}

if [ ! -e "$STATE/$POD_NAME.done" ]; then
    status=4
    if [ -e "$STATE/$POD_NAME.ckpt" ] && [ -n "$others" ]; then
        # It was here before: the others may be at work. When none is, all have stopped, and it goes on as at first.
        # shellcheck disable=SC2086
        node $others --resume --join-timeout "${REJOIN_TIMEOUT:-20s}"
        status=$?
    fi
    if [ "$status" = 4 ] && [ "$stopped" = no ]; then
        [ ! -e "$STATE/$POD_NAME.ckpt" ] || set -- --resume
        # shellcheck disable=SC2086
        node $all "$@"
        status=$?
    fi
    [ "$stopped" = no ] || exit "$status"
    [ "$status" = 0 ] || exit "$status"
    : >"$STATE/$POD_NAME.done"
    echo "pod.sh: the training is over; the model is $STATE/model.hm" >&2
fi
[ "${STAY:-yes}" = yes ] || exit 0
while [ "$stopped" = no ]; do
    sleep 3600 &
    child=$!
    wait "$child"
done
exit 0
