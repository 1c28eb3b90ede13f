"""Write the man pages that are made from other files: ``python -m docs.man_pages``

docs/man/trapctl.1 is made from trapctl's own help, docs/man/trapd.toml.5 from the comments in etc/trapd.toml.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from docs.trapctl_reference import verbs
from trapd.ctl.main import cli

FOLDER = Path(__file__).with_name("man")
CONFIGURATION = Path(__file__).parents[1] / "etc/trapd.toml"

_STATUSES = """
0	done; status: as desired; plan: nothing to do; check: no errors
1	failed; status: degraded, held or failed; plan: something would be done; check: errors
2	wrong usage; no such pool, worker or rollout
3	status only: trapd is not running
4	not permitted; status: unknown, since trapd does not answer or has no such pool
7	trapd does not run
69	trapd does not answer
75	the wait timed out; what was waited for goes on
78	the configuration cannot be used
130	interrupted by Ctrl\\-C; a rollout that has begun goes on
255	plan only: any other error
"""


def roff(text: str) -> str:
    """Return the text for roff: its special characters are escaped, and no line looks like a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq").replace("`", "")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in escaped.splitlines())


def heading(name: str, section: int, what: str) -> str:
    manual = {1: "User commands", 5: "File formats"}[section]
    return f'.TH {name.upper()} {section} "" trapd "{manual}"\n.SH NAME\n{name} \\- {roff(what)}\n'


# --- trapctl(1) -----------------------------------------------------------------------------------------------------


def trapctl() -> str:
    """Return the page of trapctl, with the words of ``trapctl --help``."""
    parts = [heading("trapctl", 1, "show and control trapd and its workers")]
    parts.append(".SH SYNOPSIS\n.B trapctl\n[options] verb [options] [arguments]\n.SH DESCRIPTION\n")
    parts.append(paragraphs((cli.help or "").partition("Exit statuses:")[0]))
    parts += [".SH OPTIONS\n", *options(cli), ".SH VERBS\n"]
    for path, command in verbs(cli):
        if not isinstance(command, click.Group):
            parts += verb(path, command)
    parts.append(".SH EXIT STATUS\n")
    parts += [f".TP\n.B {number}\n{words}\n" for number, words in rows(_STATUSES)]
    parts.append("The verb celery ends with Celery's own exit status.\n")
    parts.append(".SH SEE ALSO\n.BR trapd (8),\n.BR trapd.toml (5)\n")
    return "".join(parts)


def verb(path: tuple[str, ...], command: click.Command) -> Iterator[str]:
    with click.Context(command, info_name=path[-1], help_option_names=["-h", "--help"]) as context:
        usage = [piece for piece in command.collect_usage_pieces(context) if piece and piece != "[OPTIONS]"]
    yield f".SS {roff(' '.join((*path, *usage)))}\n{paragraphs(command.help or '')}"
    yield from options(command)


def options(command: click.Command) -> Iterator[str]:
    with click.Context(command, help_option_names=["-h", "--help"]) as context:
        for param in command.get_params(context):
            record = param.get_help_record(context)
            if record and record[1] and "--help" not in param.opts:
                yield f".TP\n.B {roff(record[0])}\n{roff(record[1])}\n"


def paragraphs(text: str) -> str:
    """Return the paragraphs of a docstring, for roff."""
    return "\n.PP\n".join(roff(" ".join(part.split())) for part in re.split(r"\n\s*\n", text.strip())) + "\n"


def rows(table: str) -> Iterator[tuple[str, str]]:
    for line in table.strip().splitlines():
        number, _, words = line.partition("\t")
        yield number, words


# --- trapd.toml(5) --------------------------------------------------------------------------------------------------


def trapd_toml() -> str:
    """Return the shipped configuration as a page: its tables are sections, its comments the text."""
    head, *blocks = CONFIGURATION.read_text("utf-8").split("\n\n")
    parts = [heading("trapd.toml", 5, head.splitlines()[0].removeprefix("# trapd: ").rstrip("."))]
    parts.append(".SH SYNOPSIS\n.I /etc/trapd/trapd.toml\n.SH DESCRIPTION\n")
    parts.append(paragraphs(" ".join(line.removeprefix("#") for line in head.splitlines()[1:])))
    parts.extend("".join(entry(block.splitlines())) for block in blocks)
    parts.append(".SH SEE ALSO\n.BR trapd (8),\n.BR trapctl (1),\n.BR systemd.exec (5),\n")
    parts.append(".BR systemd.resource\\-control (5)\n")
    return "".join(parts)


def entry(lines: Sequence[str]) -> Iterator[str]:
    """Yield one block of the file: a header of a table, if any, a comment, and the key that the comment explains."""
    words: list[str] = []

    def comment() -> str:
        text = roff(" ".join(words))
        words.clear()
        return text

    for number, line in enumerate(lines):
        if table := re.fullmatch(r"\[.+\]", line):
            yield f".SH {roff(table[0])}\n{comment()}\n"
        elif key := re.fullmatch(r"#?([a-z_]+ = .+)", line):
            yield f".TP\n.B {roff(key[1])}\n{comment()}\n"
        elif example := re.fullmatch(r"# Example:(.*)", line):
            yield from sample(comment(), [example[1], *(line.removeprefix("#") for line in lines[number + 1 :])])
            return
        else:
            words.append(line.removeprefix("#").strip())


def sample(words: str, lines: Sequence[str]) -> Iterator[str]:
    """An example in the file: of a key that has no default, or of a whole table."""
    code = [roff(line.strip()) for line in lines if line.strip()]
    if key := re.match(r"([a-z_]+) = ", code[0]):
        yield f".TP\n.B {key[1]}\n{words}\n.br\nExample: {code[0]}\n"
    else:
        shown = "\n".join(code)
        yield f".PP\n{words}\n.PP\n.nf\n.RS\n{shown}\n.RE\n.fi\n"


PAGES = {"trapctl.1": trapctl, "trapd.toml.5": trapd_toml}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), "utf-8")
