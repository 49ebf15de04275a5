"""What the daemon asks of libc either can be made to fail, or is known not to."""
# ctest: builds=release

import os
import re
import subprocess
import unittest

import harness

HERE = os.path.dirname(os.path.abspath(__file__))


def symbols(kinds):
    """Of libhcs, by nm(1)'s letters."""
    said = subprocess.run([os.environ["HCSD_NM"], os.environ["HCSD_OBJECTS"]],
                          capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in said.splitlines()
            if len(line.split()) >= 2 and line.split()[-2] in kinds}


def plain(name):
    """Without what libc puts before versions of a name."""
    return re.sub(r"^__isoc\d+_", "", name)


def is_compilers(name):
    """Calls that a compiler adds for a sanitizer or for coverage, or on its own."""
    return re.match(r"__(asan|tsan|ubsan|lsan|sanitizer|gcov|llvm|aarch64)_|"
                    r"_*mulodi4$", name)


def wrapped():
    with open(os.path.join(HERE, "faults.c")) as source:
        text = source.read()
    names = set(re.findall(r"\b__wrap_(\w+)\(", text))
    for line in re.findall(r"^ \* wrap: (.*)$", text, re.M):
        names.update(line.split())
    return names


def cannot_fail():
    with open(os.path.join(HERE, "cannot_fail.txt")) as lines:
        return {line.split()[0] for line in lines if line.strip() and line[0] != "#"}


class Imports(unittest.TestCase):
    def test_each_is_wrapped_or_cannot_fail(self):
        imports = symbols("U") - symbols("TtDdBbRrVvWw")
        imports = {plain(name) for name in imports if not is_compilers(name)}
        self.assertGreater(len(imports), 50)
        self.assertEqual(sorted(imports - wrapped() - cannot_fail()), [],
                         "stand before these in faults.c, or say in cannot_fail.txt why not")

    def test_none_is_both(self):
        self.assertEqual(wrapped() & cannot_fail(), set())


if __name__ == "__main__":
    harness.main()
