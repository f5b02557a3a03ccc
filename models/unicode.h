/* What text is made of: UTF-8, and as much of Unicode as telling words apart takes.
 *
 * Tables of our own, so that every machine divides a text in the same way, whatever its locale.
 */
#ifndef HM_MODELS_UNICODE_H
#define HM_MODELS_UNICODE_H

#include <stddef.h>
#include <stdint.h>

enum { HM_UTF8_BYTES_MAX = 4, HM_REPLACEMENT = 0xFFFD };

/* Reads the character at p, of which at least one byte precedes end; returns its bytes, or 0 where
 * no valid one begins (too long a form, a surrogate, beyond U+10FFFF, cut off). */
unsigned hm_utf8_decode(const uint8_t *p, const uint8_t *end, uint32_t *character);

/* Writes a character; returns its bytes, at most HM_UTF8_BYTES_MAX. */
unsigned hm_utf8_encode(uint32_t character, uint8_t *to);

/* White space, as Unicode and Python's str.split see it. */
int hm_is_space(uint32_t character);

/* Letters, marks, numbers. */
int hm_is_word_character(uint32_t character);

/* The lower case, one character for one; itself where there is none. */
uint32_t hm_lower(uint32_t character);

/* The upper case, as Python's str.upper has it: one to three characters; returns how many. */
unsigned hm_upper(uint32_t character, uint32_t upper[static 3]);

#endif
