#!/usr/bin/env python3
"""Rosters and their reports through a spreadsheet that is not ours.

LibreOffice makes a workbook from a CSV roster; autopay imports it and hands it back with reasons; LibreOffice reads the report again, as
a workbook and as CSV. Dates, sums and row counts must be the same, cells that look like formulas must have stayed text, and the report,
saved once more by the spreadsheet, must be taken without changing anything.

Usage: reread.py AUTOPAY, with LibreOffice's `soffice` on the path. Ends with 0 when everything holds, with 1 and what does not otherwise.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from decimal import Decimal

# Comma, quotation mark, UTF-8, from line 1, no column types, no language, quoted fields are text, other numbers and dates are not.
READ = "Text - txt - csv (StarCalc):44,34,76,1,,0,true,true"
WRITE = 'csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true'

PLAN = """schema = "autopay.plan/1"
id = "agreed"
name = "Agreed"
kind = "recurring"
status = "active"

[schedule]
every = "1 month"
time_zone = "America/Chicago"
charge_at = 06:00:00

[amount]
currency = "USD"
value = "from_subscription"
"""

HEADER = ["subscription_id", "plan", "payment_method_id", "method_kind", "customer_reference", "start_on", "amount"]
# Text that a spreadsheet would run. As a customer's id all may stand but the one with an @, which looks like an e-mail address.
HOSTILE = ["=1+1", "+1+1", "-1-1", "@SUM(1)", '=HYPERLINK("http://x","y")', "=cmd|' /C calc'!A0"]


def rows():
    """Good rows with hostile customer ids among them, then rows whose own id is hostile."""
    out = []
    references = [text for text in HOSTILE if "@" not in text]
    for n in range(40):
        reference = references[n] if n < len(references) else f"C-{n}"
        amount = Decimal(n * 1999 + 1) / 100
        method = f"5a4db0c5-0000-8000-8000-{n:012x}"
        out.append([f"sub-{n:03}", "agreed", method, "card", reference, f"2099-{n % 12 + 1:02}-{n % 28 + 1:02}", str(amount)])
    for n, hostile in enumerate(HOSTILE):
        out.append([hostile, "agreed", f"5a4db0c5-0000-8000-8001-{n:012x}", "card", f"H-{n}", "2099-03-31", "10.00"])
    return out


class Bench:
    """A folder with a migrated database and a profile for LibreOffice."""

    def __init__(self, autopay):
        self.autopay = os.path.abspath(autopay)
        self.folder = tempfile.mkdtemp(prefix="autopay-reread-")
        os.makedirs(self.at("plans"))
        with open(self.at("plans/agreed.toml"), "w", encoding="utf-8") as plan:
            plan.write(PLAN)
        self.run(0, "migrate", "up", "-q")
        self.run(0, "plans", "apply", "plans", "-q")

    def at(self, name):
        return os.path.join(self.folder, name)

    def run(self, code, *arguments):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AUTOPAY_")}
        done = subprocess.run([self.autopay, *arguments], cwd=self.folder, env=clean, capture_output=True, text=True, check=False)
        expect(done.returncode == code, f"{arguments} ended with {done.returncode}, not {code}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def imported(self, code, *arguments):
        return json.loads(self.run(code, "subscriptions", "import", *arguments, "-o", "json"))

    def convert(self, name, to, *options):
        """Lets LibreOffice read a file and write it under another ending into the folder `out`."""
        profile = f"-env:UserInstallation=file://{self.at('profile')}"
        command = ["soffice", "--headless", "--norestore", profile, *options, "--convert-to", to, "--outdir", self.at("out"), self.at(name)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        made = os.path.join(self.at("out"), os.path.splitext(os.path.basename(name))[0] + "." + to.split(":")[0])
        expect(done.returncode == 0 and os.path.exists(made), f"LibreOffice did not convert {name}:\n{done.stdout}{done.stderr}")
        return made


def expect(holds, otherwise):
    if not holds:
        sys.exit(f"FAILED: {otherwise}")


def read(path):
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def same(found, expected, what, inert=lambda text: text):
    """Header, row count, dates, sum, and every cell as it was written."""
    header, lines = found[0], found[1:]
    expect(header[: len(HEADER)] == HEADER, f"{what}: the header is {header}")
    expect(header[len(HEADER) :][:4] == ["row_status", "error_code", "error", "how_to_fix"], f"{what}: the header is {header}")
    expect(len(lines) == len(expected), f"{what}: {len(lines)} rows, not {len(expected)}")
    place = HEADER.index
    total = sum(Decimal(line[place("amount")]) for line in lines)
    wanted = sum(Decimal(row[place("amount")]) for row in expected)
    expect(total == wanted, f"{what}: the amounts add up to {total}, not {wanted}")
    for line, row in zip(lines, expected):
        for column in ["start_on", "plan", "payment_method_id"]:
            expect(line[place(column)] == row[place(column)], f"{what}: {column} is {line[place(column)]}, not {row[place(column)]}")
        for column in ["subscription_id", "customer_reference"]:
            wanted = inert(row[place(column)])
            expect(line[place(column)] == wanted, f"{what}: {column} is {line[place(column)]!r}, not {wanted!r}")
        status = "error" if row[0] in HOSTILE else "ok"
        expect(line[len(HEADER)] == status, f"{what}: {row[0]} is {line[len(HEADER)]}")


def guarded(text):
    """As the CSV report writes what a spreadsheet would run."""
    return "'" + text if text[:1] in "=+-@" else text


def main():
    expect(len(sys.argv) == 2, "usage: reread.py AUTOPAY")
    expect(shutil.which("soffice"), "LibreOffice is not there: install libreoffice-calc-nogui")
    bench, expected = Bench(sys.argv[1]), rows()
    with open(bench.at("roster.csv"), "w", encoding="utf-8", newline="") as file:
        file.write(",".join(HEADER) + "\n")
        for row in expected:
            # Dates and amounts bare, so that the spreadsheet makes dates and numbers of them; text in quotation marks.
            texts = ['"' + cell.replace('"', '""') + '"' for cell in row[:5]]
            file.write(",".join(texts + row[5:]) + "\n")
    shutil.move(bench.convert("roster.csv", "xlsx", f"--infilter={READ}"), bench.at("roster.xlsx"))

    # A workbook in, the workbook back.
    done = bench.imported(9, "roster.xlsx", "--good-rows", "--report", "report.xlsx")
    good = len(expected) - len(HOSTILE)
    expect((done["rows"], done["good"], done["added"]) == (len(expected), good, good), f"the workbook was imported as {done}")
    same(read(bench.convert("report.xlsx", WRITE)), expected, "the report as a workbook")
    stored = json.loads(bench.run(0, "subscriptions", "list", "--all", "-o", "json"))
    dates = {row["id"]: (row["start_on"], row["amount"]) for row in stored}
    for row in expected[:good]:
        wanted = (row[5], f"{Decimal(row[6]):.2f}")
        expect(dates[row[0]] == wanted, f"{row[0]} is stored as {dates[row[0]]}, not {wanted}")

    # The report, saved once more by the spreadsheet, changes nothing.
    shutil.move(bench.convert("report.xlsx", "xlsx"), bench.at("again.xlsx"))
    again = bench.imported(9, "again.xlsx", "--good-rows", "--report", "twice.xlsx")
    expect((again["unchanged"], again["added"], again["changed"]) == (good, 0, 0), f"the report was imported as {again}")
    same(read(bench.convert("twice.xlsx", WRITE)), expected, "the report of the report")

    # The same as CSV.
    bench.imported(9, "roster.csv", "--good-rows", "--report", "report.csv")
    same(read(bench.convert("report.csv", WRITE, f"--infilter={READ}")), expected, "the report as CSV", guarded)
    shutil.rmtree(bench.folder)
    print(f"{len(expected)} rows were the same after LibreOffice read and wrote them, as a workbook and as CSV; {2 * len(HOSTILE) - 1} hostile cells stayed text.")


main()
