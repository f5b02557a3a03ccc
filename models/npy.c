#include "models/npy.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

void hm_npy_header(const char *descr, const char *shape, char header[HM_NPY_HEADER])
{
    static const char magic[10] = "\x93NUMPY\x01\x00\x76\x00"; /* 0x76 bytes follow */
    char text[HM_NPY_HEADER - sizeof magic];
    int used = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }",
                        descr, shape);
    assert(used > 0 && (size_t)used < sizeof text);
    memset(text + used, ' ', sizeof text - (size_t)used);
    text[sizeof text - 1] = '\n';
    memcpy(header, magic, sizeof magic);
    memcpy(header + sizeof magic, text, sizeof text);
}
