#!/usr/bin/python3
"""embed.py PAGE.html: the page as a C array, and the content security policy that lets run what it holds and nothing else."""
import base64
import hashlib
import re
import sys

page = open(sys.argv[1], 'rb').read()
assert b'http://' not in page.replace(b'http://www.w3.org/', b'') and b'https://' not in page, 'the page fetches nothing from elsewhere'


def hashes(tag):
    found = re.findall(rb'<%s>(.*?)</%s>' % (tag, tag), page, re.S)
    assert found, tag
    return ' '.join("'sha256-%s'" % base64.b64encode(hashlib.sha256(text).digest()).decode() for text in found)


print('/* Made of tools/page.html by tools/embed.py. */')
print('static const unsigned char page[] = {')
for at in range(0, len(page), 24):
    print(','.join(map(str, page[at:at + 24])) + ',')
print('};')
print(f'static const char page_policy[] = "default-src \'none\'; script-src {hashes(b"script")}; style-src {hashes(b"style")}; '
      'connect-src \'self\'; img-src data:; base-uri \'none\'; form-action \'none\'; frame-ancestors \'none\'";')
