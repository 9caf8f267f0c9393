"""Fails when a crate we build with cannot be had under a licence that husk may ship with.

Reads `cargo metadata`, so it covers every platform and every dev-dependency. It does not read licence texts.
"""

import json
import os
import re
import subprocess
import sys

ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    # Wants one line in the documentation; it is in README.md.
    "IJG",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Zlib",
}


def main():
    packages = metadata()["packages"]
    faults = [fault for package in packages if (fault := fault_of(package))]
    if faults:
        print("\n".join(faults), file=sys.stderr)
        print("licences: choose another crate, or allow the licence in tests/licences.py", file=sys.stderr)
        return 1
    print(f"licences: {len(packages)} crates, each under an allowed licence")
    return 0


def metadata():
    cargo = os.environ.get("CARGO", "cargo")
    command = [cargo, "metadata", "--format-version", "1", "--locked", "--all-features"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def fault_of(package):
    crate, licence = f"{package['name']} {package['version']}", package["license"]
    if not licence:
        return f"licences: {crate} names no licence (license-file: {package['license_file']})"
    try:
        fine = Expression(licence).holds()
    except ValueError as unreadable:
        return f"licences: {crate}: cannot read `{licence}`: {unreadable}"
    return None if fine else f"licences: {crate} is under `{licence}`, which no allowed licence satisfies"


class Expression:
    """An SPDX licence expression: `OR` binds weakest, then `AND`, then `WITH`. `/` is how old crates write `OR`."""

    def __init__(self, text):
        self.words = re.findall(r"[()]|[^\s()]+", text.replace("/", " OR "))

    def holds(self):
        answer = self.any_of()
        if self.words:
            raise ValueError(f"`{self.words[0]}` is left over")
        return answer

    def any_of(self):
        answer = self.all_of()
        while self.took("OR"):
            answer = self.all_of() or answer
        return answer

    def all_of(self):
        answer = self.one()
        while self.took("AND"):
            answer = self.one() and answer
        return answer

    def one(self):
        if self.took("("):
            answer = self.any_of()
            if not self.took(")"):
                raise ValueError("a parenthesis is not closed")
            return answer
        name = self.name()
        if self.took("WITH"):
            name = f"{name} WITH {self.name()}"
        return name in ALLOWED

    def name(self):
        if not self.words or self.words[0] in ("(", ")", "AND", "OR", "WITH"):
            raise ValueError("a licence's name is missing")
        return self.words.pop(0)

    def took(self, word):
        if self.words[:1] != [word]:
            return False
        self.words.pop(0)
        return True


if __name__ == "__main__":
    sys.exit(main())
