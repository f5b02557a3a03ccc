"""The table in tests/README.md names tests that exist."""
import pathlib
import re

HERE = pathlib.Path(__file__).parent


def test_every_name_in_the_table_is_a_test():
    named = re.findall(r'`(test_\w+\.(?:c|py))::(\w+)`', (HERE / 'README.md').read_text())
    assert len(named) > 80
    shape = {'.c': r'(?:cmocka_unit_test\w*|\bTEST)\(\s*{}\b', '.py': r'(?m)^def {}\('}
    missing = [f'{file}::{name}' for file, name in named
               if not re.search(shape[pathlib.Path(file).suffix].format(name), (HERE / file).read_text())]
    assert not missing
