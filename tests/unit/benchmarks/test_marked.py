import pytest

from benchmarks import marked

PAGE = "before\n\n<!-- peers -->\nold\n<!-- /peers -->\n\nafter\n"


def test_only_what_is_between_the_markers_is_replaced(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    marked.write(page, "peers", "new\n")
    assert page.read_text() == PAGE.replace("old", "new")


def test_a_section_comes_with_its_markers_so_that_it_can_be_written_again(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert marked.section(page, "peers") == "<!-- peers -->\nold\n<!-- /peers -->\n"
    assert marked.section(page, "others") == marked.section(tmp_path / "none.md", "peers") == ""


@pytest.mark.parametrize("page", ["nothing\n", "<!-- peers -->\n", "<!-- /peers -->\n<!-- peers -->\n"])
def test_a_page_without_both_markers_is_left_as_it_is(tmp_path, page):
    path = tmp_path / "page.md"
    path.write_text(page)
    with pytest.raises(ValueError, match="<!-- peers -->"):
        marked.write(path, "peers", "new\n")
    assert path.read_text() == page
