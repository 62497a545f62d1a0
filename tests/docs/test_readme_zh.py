"""README.zh-CN.md says what README.md says: the same headings, links, pictures, commands and code, and the same table of verdicts."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"<!-- claims:begin -->.*?<!-- claims:end -->", flags=re.DOTALL)


def headings(text: str) -> list[int]:
    """Levels of the headings, in order."""
    return [len(line.split()[0]) for line in FENCE.sub("", text).splitlines() if re.match(r"#+ ", line)]


def code(text: str) -> list[tuple[str, list[str]]]:
    """Language and lines of every block, without comments and blank space: those are translated."""
    return [
        (language, [re.sub(r"(^|\s+)# .*$", "", line).rstrip() for line in block.splitlines()])
        for language, block in FENCE.findall(text)
    ]


def inline(text: str) -> list[str]:
    """Code in running text and links, in order: names and commands are the same in both languages."""
    return re.findall(r"`[^`\n]+`|\]\([^)]+\)", FENCE.sub("", TABLE.sub("", text)))


def test_the_same_headings() -> None:
    assert headings(CHINESE) == headings(ENGLISH)


def test_the_same_commands_and_code() -> None:
    assert len(code(ENGLISH)) >= 4
    assert code(CHINESE) == code(ENGLISH)


def test_the_same_names_and_links() -> None:
    other = {"](README.md)", "](README.zh-CN.md)"}
    assert sorted(set(inline(CHINESE)) - other) == sorted(set(inline(ENGLISH)) - other)


def test_the_same_verdicts() -> None:
    assert TABLE.findall(CHINESE) == TABLE.findall(ENGLISH)


def test_as_many_bullets_and_rows_of_tables() -> None:
    for mark in (r"^- ", r"^\| "):
        english, chinese = (re.findall(mark, TABLE.sub("", text), flags=re.MULTILINE) for text in (ENGLISH, CHINESE))
        assert len(chinese) == len(english)


def test_it_is_chinese() -> None:
    words = FENCE.sub("", TABLE.sub("", CHINESE))
    assert len(re.findall(r"[\u4e00-\u9fff]", words)) > 400
    for term in ("ε-秩", "凝聚", "平均场", "混沌边缘", "神经正切核", "相图", "临界初始化", "双下降", "隐式偏置", "动力学等距"):
        assert term in words


@pytest.mark.parametrize("change", ["theodolite doctor", "make test", "### "])
def test_a_difference_is_seen(change: str) -> None:
    changed = CHINESE.replace("theodolite doctor", "theodolite docter", 1) if change != "### " else CHINESE + "\n### 附录\n"
    if change == "make test":
        changed = CHINESE.replace("make test", "make tests", 1)
    assert headings(changed) != headings(ENGLISH) or code(changed) != code(ENGLISH)
