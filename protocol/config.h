/* The configuration of a mesh: what all its nodes must agree on, as named values, and its
 * fingerprint.
 *
 * The first node makes it, joiners adopt it from HELLO_OK. A node that was told something by an
 * explicit flag, or whose data says something, sends those fields with its HELLO; a contradiction
 * is answered by REJECT, naming the field. Values are text; numbers are written so that reading
 * them back gives the same number.
 */
#ifndef HM_PROTOCOL_CONFIG_H
#define HM_PROTOCOL_CONFIG_H

#include "protocol/wire.h"
#include "sparse/fields.h"

/* Takes over fields as decoded from a peer: sorted by name, unique; HM_EINPUT otherwise. */
enum hm_status hm_config_adopt(struct hm_fields *config, const struct hm_field *field, size_t n,
                               struct hm_err *err);

/* The first field of `asked` that `config` has with another value, or does not have; NULL when
 * none. */
const struct hm_field *hm_config_conflict(const struct hm_fields *config,
                                          const struct hm_field *asked, size_t n);

/* First 8 bytes, little-endian, of BLAKE2b-256 over "hogmesh", the wire version and the fields in
 * order, each as two strings with varint lengths. Never 0. */
uint64_t hm_config_fingerprint(const struct hm_fields *config);

#endif
