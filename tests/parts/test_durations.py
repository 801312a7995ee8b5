"""The order in which `make test` begins its files."""

from pathlib import Path

from tests.parts.durations import longest_first, seconds_by_file

REPORT = """<testsuites><testsuite>
<testcase classname="tests.parts.test_durations" name="one" time="1.4"/>
<testcase classname="tests.parts.test_parts.TestClass" name="two" time="7.2"/>
<testcase classname="tests.parts.test_durations" name="three" time="1.4"/>
<testcase classname="tests.gone.test_gone" name="four" time="9"/>
</testsuite></testsuites>"""


def test_a_report_becomes_seconds_by_file_the_longest_first_without_files_that_are_gone(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    assert list(seconds_by_file(report).items()) == [
        ("tests/parts/test_parts.py", 7),
        ("tests/parts/test_durations.py", 3),
    ]


def test_the_longest_file_is_begun_first_and_tests_of_one_file_keep_their_order() -> None:
    assert longest_first(["a", "a", "b", "c", "c"], {"c": 9, "a": 2}) == [3, 4, 0, 1, 2]
