"""Each atomic operation names its order and the reason: on its line, or above it in its group.

A group is a run of lines without a blank line, inside one function. A comment covers the atomics
that follow it in its group, provided that it names their order (`relaxed`, `acquire`, `release`,
`acq_rel`) and goes on to say why.
"""

import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "shmqueue"

OPERATION = re.compile(
    r"\b(?:(?:load|store|cas|xchg|exchange|fetch_[a-z]+|fence|test_and_set)_"
    r"(?P<order>relaxed|acquire|release|acq_rel|seq_cst)"
    r"|__atomic_(?!always_lock_free|is_lock_free)[a-z_]+"
    r"|__sync_[a-z_]+)\s*\("
)
BUILTIN_ORDER = re.compile(r"__ATOMIC_(RELAXED|ACQUIRE|RELEASE|ACQ_REL|SEQ_CST|CONSUME)")
# What may stand in a comment for an order; "both" is acquire and release.
WORDS = {
    "relaxed": {"relaxed"},
    "acquire": {"acquire"},
    "release": {"release"},
    "acq_rel": {"acq_rel", "both"},
    "seq_cst": {"seq_cst"},
    "consume": {"consume"},
}
ORDER_WORD = re.compile(r"\b(relaxed|acquire|release|acq_rel|both|seq_cst|consume|the caller)\b")
# An order and then a reason: at least one more word.
REASONED = re.compile(ORDER_WORD.pattern + r"\W+\w+", re.IGNORECASE)


def split_comments(text, python):
    """Return for each line its code and its comment, the delimiters taken away."""
    if python:
        token = re.compile(r"#[^\n]*|'''.*?'''|\"\"\".*?\"\"\"|'[^'\n]*'|\"[^\"\n]*\"", re.DOTALL)
    else:
        token = re.compile(
            r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL
        )
    code, comments, end = "", "", 0
    for match in token.finditer(text):
        before, found = text[end : match.start()], match.group()
        blank = re.sub(r"[^\n]", " ", found)
        is_comment = found.startswith("#") if python else found.startswith("/")
        code += before + blank
        comments += re.sub(r"[^\n]", " ", before) + (found if is_comment else blank)
        end = match.end()
    code += text[end:]
    comments += re.sub(r"[^\n]", " ", text[end:])
    return [
        (code_line, comment.strip(" /*#"))
        for code_line, comment in zip(code.split("\n"), comments.split("\n"), strict=True)
    ]


def in_extern_block(lines, number):
    """Whether a Cython line only declares a C name."""
    indent = len(lines[number]) - len(lines[number].lstrip())
    for line in reversed(lines[:number]):
        if not line.strip():
            continue
        depth = len(line) - len(line.lstrip())
        if depth < indent:
            if re.match(r"\s*(cdef|cpdef) extern from\b", line):
                return True
            indent = depth
    return False


def covering_comments(parts, number):
    """The comments that may speak for the atomic on this line, in the order of reading."""
    found = [parts[number][1]]
    for code, comment in reversed(parts[:number]):
        blank = not code.strip()
        if blank and not comment:
            break
        # The head of a function or of a structure: its comment is about the whole.
        if code[:1].strip() and code.rstrip().endswith("{") and not code.startswith("#"):
            break
        if code.startswith("}"):
            break
        found.append(comment)
    # An argument list may have its comment after the operation's own line.
    depth = parts[number][0].count("(") - parts[number][0].count(")")
    following = number + 1
    while depth > 0 and following < len(parts):
        code, comment = parts[following]
        found.insert(0, comment)
        depth += code.count("(") - code.count(")")
        following += 1
    return " ".join(reversed(found))


def orders_of(parts, number):
    """The orders that the line's operations ask for; None stands for one that names none."""
    orders = set()
    code = parts[number][0]
    for match in OPERATION.finditer(code):
        if match["order"]:
            orders.add(match["order"])
        else:
            rest = " ".join(line for line, _ in parts[number : number + 3])
            named = BUILTIN_ORDER.findall(rest)
            orders.update(name.lower() for name in named)
            if not named:
                orders.add(None)
    return orders


def complaints(text, *, python=False, defines=False):
    """Yield (line number, sentence) for each atomic whose order or reason is not told.

    With `defines` the macros that *are* the operations pass: each caller tells its own reason.
    """
    parts = split_comments(text, python)
    code_lines = [code for code, _ in parts]
    for number in range(len(parts)):
        orders = orders_of(parts, number)
        if not orders or (python and in_extern_block(code_lines, number)):
            continue
        if defines and any(
            line.startswith("#define") for line in code_lines[max(0, number - 1) : number + 1]
        ):
            continue
        comments = covering_comments(parts, number)
        words = {word.lower() for word in ORDER_WORD.findall(comments)}
        if {"acquire", "release"} <= words:
            words.add("acq_rel")
        if not words:
            yield number + 1, "an atomic without a comment that names its order"
            continue
        for order in sorted(orders, key=str):
            if order is not None and not words & WORDS[order]:
                yield number + 1, f"the comments here do not name this atomic's order, {order}"
        if not REASONED.search(comments):
            yield number + 1, "the comment names the order, but no reason"


def main():
    failed = False
    sources = [*PACKAGE.glob("_native/*.h"), *PACKAGE.glob("*.pyx"), *PACKAGE.glob("*.pxd")]
    for path in sorted(sources):
        python = path.suffix != ".h"
        found = complaints(path.read_text(), python=python, defines=path.name == "atomics.h")
        for number, sentence in found:
            failed = True
            print(f"{path.relative_to(PACKAGE.parent)}:{number}: {sentence}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
