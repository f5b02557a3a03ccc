#!/usr/bin/env python3
"""Makes models/unicode_table.h: which characters are part of words, their lower and their upper case.

    tools/unicode_table.py > models/unicode_table.h

Letters, marks and numbers (categories L, M, N). What no version of Unicode has assigned yet belongs to whatever
surrounds it, which makes the table short and lets it age well.
"""
import unicodedata

FIRST, END = 0x80, 0x110000


def ranges():
    """[first, last] of characters that are part of words."""
    found, open_range, last = [], None, None
    for c in range(FIRST, END):
        category = unicodedata.category(chr(c))
        if category == 'Cn':
            continue
        if category[0] in 'LMN':
            open_range = c if open_range is None else open_range
            last = c
        elif open_range is not None:
            found.append((open_range, last))
            open_range = None
    if open_range is not None:
        found.append((open_range, last))
    return found


def lower(c):
    """One character for one: the first one of Unicode's full mapping, which differs for U+0130 alone."""
    return ord(chr(c).lower()[0])


def upper(c):
    """Itself where it becomes several: those are in several()."""
    text = chr(c).upper()
    return ord(text) if len(text) == 1 else c


def several():
    """(character, its upper case of two or three characters, 0 for the third)."""
    for c in range(FIRST, END):
        text = chr(c).upper()
        if len(text) > 1:
            yield (c, *map(ord, text.ljust(3, '\0')))


def mappings(case):
    """(first, last, stride, delta): every stride-th character from first to last is delta away from the other case."""
    found = []
    for c in range(FIRST, END):
        delta = case(c) - c
        if not delta:
            continue
        if found:
            first, last, stride, d = found[-1]
            if d == delta and (c - last == stride or (first == last and c - last <= 2)):
                found[-1] = (first, c, c - last, d)
                continue
        found.append((c, c, 1, delta))
    return found


def table(name, kind, rows):
    print(f'\nstatic const {kind} {name}[] = {{')
    line = '   '
    for row in rows:
        text = ' {' + ', '.join(str(x) if x < 256 else f'0x{x:X}' for x in row) + '},'
        if len(line) + len(text) > 100:
            print(line)
            line = '   '
        line += text
    print(line + '\n};')


print(f'/* Made by tools/unicode_table.py of Unicode {unicodedata.unidata_version}; see there. */')
print("""
struct range {
    uint32_t first, last;
};

/* Every stride-th character from first to last is delta away from its other case. */
struct mapping {
    uint32_t first, last, stride;
    int32_t delta;
};

/* A character whose upper case is two or, if the third is not 0, three. */
struct several {
    uint32_t character, first, second, third;
};

/* clang-format off */""")
table('word_range', 'struct range', ranges())
table('lower_case', 'struct mapping', mappings(lower))
table('upper_case', 'struct mapping', mappings(upper))
table('upper_several', 'struct several', several())
print('/* clang-format on */')
