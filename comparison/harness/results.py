"""Results, read back from their file, and what is said of them."""

import json
import statistics


class Results:
    """All lines of a file, or of several. Of one point, the later line of a round counts."""

    def __init__(self, lines):
        self.about, self.points, self.others = {}, {}, []
        for line in lines:
            if "about" in line:
                self.about = line["about"]
            elif "label" in line and "in_flight" in line:
                rounds = self.points.setdefault((line["label"], line["in_flight"]), {})
                rounds[line.get("round", 1)] = line
            else:
                self.others.append(line)

    @classmethod
    def read(cls, path):
        with open(path) as file:
            return cls([json.loads(line) for line in file if line.startswith("{")])

    def rounds(self, label, in_flight):
        """The results of a point by round."""
        return self.points.get((label, in_flight), {})

    def values(self, label, in_flight, field):
        return {number: dig(line, field) for number, line in self.rounds(label, in_flight).items()}

    def ratios(self, one, other, field):
        """One point's values over another's of the same round."""
        ours, theirs = self.values(*one, field), self.values(*other, field)
        return [ours[number] / theirs[number] for number in ours if theirs.get(number)]


def dig(line, field):
    """A field, or one of a field: `after_ack.p50_us`."""
    for name in field.split("."):
        line = line[name]
    return line


def number(value):
    """As many digits as say something."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def spread(values):
    """Median and, of several, extremes."""
    values = list(values)
    if not values:
        return "-"
    if len(values) == 1:
        return number(values[0])
    return f"{number(statistics.median(values))} ({number(min(values))}–{number(max(values))})"


def table(head, rows):
    """A table of Markdown; numbers to the right but for the first column."""
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)
