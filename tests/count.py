#!/usr/bin/python3
"""Sums test cases over programs: count.py NAME=FILE ... ends with one line "N passed, N failed".

FILE is meson's testlog.json of programs that print TAP (CMOCKA_MESSAGE_OUTPUT=TAP), or a JUnit file of pytest. What
failed or was skipped is listed above with its reason. A program that died counts as failed even if all its cases up to
there passed; so does a FILE that is missing. With CI=true a case may be skipped only for want of a privilege: the
machine that decides has everything else.
"""
import json
import os
import re
import sys
import xml.etree.ElementTree as xml

CASE = re.compile(r'\s*(not ok|ok) \d+ (-|# SKIP) (\S+)')
PLAN = re.compile(r'\s*1\.\.(\d+)')


def of_meson(path):
    """Yields (case, 'passed' | 'failed' | 'skipped', text)."""
    for line in open(path, encoding='utf-8', errors='replace'):
        program = json.loads(line)
        output = program.get('stdout', '').splitlines() + program.get('stderr', '').splitlines()
        planned = seen = failed = 0
        since = []  # what was printed since the last case
        for text in output:
            plan, case = PLAN.match(text), CASE.match(text)
            if plan:
                planned = int(plan.group(1))
            elif case:
                seen += 1
                skipped = case.group(2) != '-'
                result = 'skipped' if skipped else 'passed' if case.group(1) == 'ok' else 'failed'
                failed += result == 'failed'
                yield f'{program["name"]}.{case.group(3)}', result, '\n'.join(since)
                since = []
            else:
                since.append(text)
        lost = max(planned - seen, 0)
        if program['result'] not in ('OK', 'SKIP') and not failed:
            lost = max(lost, 1)
        if not seen and not lost:
            lost = 1
        for _ in range(lost):
            yield (f'{program["name"]}: {program["result"]} after {seen} of {planned} cases', 'failed',
                   '\n'.join(output[-40:]))


def of_pytest(path):
    for case in xml.parse(path).getroot().iter('testcase'):
        name = f'{case.get("classname")}.{case.get("name")}'
        result, text = 'passed', ''
        for child in case:
            if child.tag in ('failure', 'error'):
                result, text = 'failed', child.text or child.get('message') or ''
            elif child.tag == 'skipped' and result == 'passed':
                result, text = 'skipped', child.get('message') or ''
        yield name, result, text


def main():
    counts = {'passed': 0, 'failed': 0, 'skipped': 0}
    strict = os.environ.get('CI') == 'true'
    for argument in sys.argv[1:]:
        group, path = argument.split('=', 1)
        try:
            cases = list((of_meson if path.endswith('.json') else of_pytest)(path))
        except (OSError, ValueError, KeyError, xml.ParseError) as error:
            cases = [(f'no results: {error}', 'failed', '')]
        if not cases:
            cases = [('no cases', 'failed', path)]
        for name, result, text in cases:
            reason = ' '.join(text.split())
            if result == 'skipped' and strict and 'privilege' not in reason:
                result, text = 'failed', f'skipped where nothing may be: {reason}'
            counts[result] += 1
            if result == 'skipped':
                print(f'skipped  {group}: {name}: {reason or "no reason given"}')
            elif result == 'failed':
                print(f'FAILED   {group}: {name}')
                print(''.join(f'         {line}\n' for line in text.splitlines()[-40:]), end='')
    print(f'{counts["passed"]} passed, {counts["failed"]} failed')
    return 0 if counts['passed'] and not counts['failed'] else 1


if __name__ == '__main__':
    sys.exit(main())
