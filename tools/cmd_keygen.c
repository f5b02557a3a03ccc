/* hogmesh keygen: makes a mesh key file, and changes the keys in it. */
#include "tools/cli.h"

static void tell_made(const char *path, const struct hm_keys *keys)
{
    printf("%s: key %s\n\n"
           "Whoever has this file is in the mesh. Copy it to every node, keeping its mode\n\n"
           "    scp -p %s HOST:\n\n"
           "and start each node with it\n\n"
           "    hogmesh join svm --train part1.svm --expect 3 --bind 192.168.1.7:7000 --key %s\n",
           path, keys->key[0].fingerprint, path, path);
}

static void tell_changed(const char *path, const struct hm_keys *keys)
{
    printf("%s:\n", path);
    for (unsigned i = 0; i < keys->n; i++)
        printf("    key %s%s\n", keys->key[i].fingerprint,
               i ? ", tried after it in dialling" : ", in use");
    printf(
        "\nCopy the file to every node (scp -p) and restart the nodes, one after the other, before "
        "the next change.\n");
}

int cmd_keygen(struct cli *cli)
{
    struct hm_err err = {""};
    struct hm_keys keys;
    const char *path = cli->argument[0];
    if (cli->n_arguments != 1 || cli->key_add + !!cli->key_first + !!cli->key_revoke > 1) {
        fprintf(stderr, "hogmesh keygen: %s; see 'hogmesh keygen --help'\n",
                cli->n_arguments != 1 ? "the name of a file is missing"
                                      : "--add, --first and --revoke are steps of their own");
        return EXIT_USAGE;
    }
    enum hm_status status = cli->key_add      ? hm_keys_add(&keys, path, &err)
                            : cli->key_first  ? hm_keys_put_first(&keys, path, cli->key_first, &err)
                            : cli->key_revoke ? hm_keys_revoke(&keys, path, cli->key_revoke, &err)
                                              : hm_keys_create(&keys, path, &err);
    if (status)
        return cli_fail(status, &err);
    if (cli->key_add || cli->key_first || cli->key_revoke)
        tell_changed(path, &keys);
    else
        tell_made(path, &keys);
    hm_keys_wipe(&keys);
    return EXIT_DONE;
}
