"""docs/series.md says the truth about the tables that a run writes, and about its exit statuses."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from trapd.ctl.exits import Exit
from trapd.distribute import endings, trap_database

PAGE = (Path(__file__).parents[3] / "docs/series.md").read_text()
ROWS = {
    "trapd_run": [{"state": "complete", "images": 3, "failed": 1, "codes": 1}],
    "trapd_provenance": [
        {"image": "/data/1.fits", "trap": "1.4.0", "radio_pyse": "0.7.1", "worker": "a", "attempts": 1}
        | {"started": 10.0, "finished": 12.0},
        {"image": "/data/2.fits", "trap": "1.4.0", "radio_pyse": "0.7.1", "worker": "a", "attempts": 2}
        | {"started": 10.0, "finished": 14.0},
        {"image": "/data/3.fits", "error": "cannot read it", "attempts": 1},
    ],
}


def test_its_queries_answer_what_it_says(tmp_path: Path) -> None:
    database = trap_database.SQLite({"db_name": str(tmp_path / "field7.sqlite")})
    for table, rows in ROWS.items():
        database.write(table, rows)
    with sqlite3.connect(database.part) as connection:
        asked = [
            connection.execute(query).fetchall()
            for query in re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
        ]
    connection.close()
    assert asked == [
        [("complete", 3, 1, 1)],
        [("1.4.0", "0.7.1", None, "a", 2, 3.0)],
        [("/data/2.fits", None, 2), ("/data/3.fits", "cannot read it", 1)],
    ]


def test_it_lists_every_exit_status_and_no_other() -> None:
    table = PAGE.partition("## How it ended")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE)
    told = [int(number) for cell in cells for number in cell.split(", ")]
    own = {value for value in vars(endings).values() if isinstance(value, int)}
    of_trapctl = {Exit.NOT_PERMITTED, Exit.STOPPED, Exit.UNREACHABLE}
    assert sorted(told) == sorted(own | of_trapctl)
