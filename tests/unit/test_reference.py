"""Files that are made from the option table are what the table makes."""

from pathlib import Path

from voipfleet import reference

PROJECT = Path(__file__).parents[2]


def test_generated_files_are_up_to_date():
    stale = [str(path.relative_to(PROJECT)) for path, text in reference.files(PROJECT).items()
             if not path.exists() or path.read_text("utf-8") != text]  # fmt: skip
    assert not stale, f"run `make docs`: {stale}"
