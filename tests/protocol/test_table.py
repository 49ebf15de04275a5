"""docs/http.md names a test for each requirement: that they exist, that each row
names one, and that no test of the protocol is missing there."""

import os
import re
import unittest

FOLDER = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(FOLDER, "..", "..")
NAME = re.compile(r"`(test_\w+\.\w+\.test_\w+)`")
UNIT = re.compile(r"`(unit/\w+\.[ch]): (\w+)`")


def rows():
    """Of each table whose last column is "test": its other cells, and that one."""
    with open(os.path.join(ROOT, "docs", "http.md"), encoding="utf-8") as page:
        lines = [line.strip() for line in page]
    inside = False
    for line in lines:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            inside = False
        elif cells[-1] == "test":
            inside = True
        elif inside and not set(line) <= set("|- "):
            yield cells


def flatten(suite):
    for part in suite:
        if isinstance(part, unittest.TestSuite):
            yield from flatten(part)
        else:
            yield part


def tests():
    """The names of all tests in this folder, but for those here."""
    found = unittest.TestLoader().discover(FOLDER, "test_*.py", FOLDER)
    return {test.id() for test in flatten(found)} - {
        test.id() for test in flatten(unittest.TestLoader().loadTestsFromName("test_table"))}


class Table(unittest.TestCase):
    def test_every_row_says_what_where_and_names_a_test(self):
        self.assertGreater(len(list(rows())), 100)
        for cells in rows():
            with self.subTest(row=cells[0]):
                self.assertEqual(len(cells), 3)
                self.assertTrue(all(cells))
                self.assertRegex(cells[2], r"\A(`[^`]+`(, |\Z))+\Z")
                for name in cells[2].split(", "):
                    self.assertTrue(NAME.fullmatch(name) or UNIT.fullmatch(name), name)

    def test_every_test_that_is_named_exists(self):
        named = {name for cells in rows() for name in NAME.findall(cells[-1])}
        self.assertEqual(sorted(named - tests()), [])
        for cells in rows():
            for path, name in UNIT.findall(cells[-1]):
                with open(os.path.join(ROOT, "tests", path), encoding="utf-8") as source:
                    # A function, or the rows below a name.
                    self.assertRegex(
                        source.read(), r"\b(static void|TEST)[ (]%s[()]" % name)

    def test_every_test_of_the_protocol_is_named(self):
        named = {name for cells in rows() for name in NAME.findall(cells[-1])}
        self.assertGreater(len(tests()), 100)
        self.assertEqual(sorted(tests() - named), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
