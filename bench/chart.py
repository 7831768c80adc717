"""The chart, as SVG: what a request costs nginx, and how long it takes."""

from html import escape
from statistics import median

from measure import PERCENTILES
from report import ratios
from variants import BY_NAME

WIDTH, ROW, LABEL, BAR = 940, 26, 350, 440
COLOURS = {"A": "#8a8f98", "stock": "#c8553d", "ours": "#2a7f62"}


def draw(version, found):
    speed = found["speed"]
    cpu = {n: ratios(r["cpu"], speed["A"]["cpu"]) if "A" in speed else r["cpu"] for n, r in speed.items()}
    middle, late = PERCENTILES.index(50), PERCENTILES.index(99)
    p50 = {n: [row[middle] for row in r["latency"]] for n, r in speed.items()}
    p99 = {n: median(row[late] for row in r["latency"]) for n, r in speed.items()}
    parts, y = [], 30
    parts.append(text(16, y, "CPU of nginx %s for each request, plain proxy = 1" % version, weight="bold"))
    y = bars(parts, y + 14, cpu, "%.2f")
    y += 34
    rate = found["size"]["rate"]
    parts.append(text(16, y, "µs to the answer at %d requests/s: median, and a mark at 99 %%" % rate, weight="bold"))
    y = bars(parts, y + 14, p50, "%.0f", p99)
    parts.append(text(16, y + 24, "Bars are medians; the thin line goes from the lowest to the highest round.", 12))
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d"' % (
        (WIDTH, y + 40) * 2
    )
    head += ' font-family="sans-serif" font-size="14">'
    ground = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return "\n".join([head, "<title>What authenticating costs in nginx %s</title>" % version, ground] + parts + ["</svg>", ""])


def bars(parts, y, values, form, marks=None):
    longest = max(max(v) for v in values.values())
    if marks:
        longest = max(longest, *marks.values())
    scale = BAR / longest
    for name, numbers in values.items():
        low, value, high = min(numbers), median(numbers), max(numbers)
        middle = y + ROW / 2
        parts.append(text(16, middle + 5, name, weight="bold"))
        parts.append(text(54, middle + 5, BY_NAME[name].title))
        parts.append(
            '<rect x="%d" y="%.1f" width="%.1f" height="%d" fill="%s"/>'
            % (LABEL, y + 4, value * scale, ROW - 8, COLOURS[kind(name)])
        )
        parts.append(line(LABEL + low * scale, middle, LABEL + high * scale, middle))
        label, end = form % value, high
        if marks:
            x = LABEL + marks[name] * scale
            parts.append(line(x, y + 4, x, y + ROW - 4))
            label, end = "%s, %s" % (label, form % marks[name]), max(high, marks[name])
        parts.append(text(LABEL + end * scale + 8, middle + 5, label))
        y += ROW
    return y


def kind(name):
    if name.startswith("A"):
        return "A"
    return "ours" if BY_NAME[name].module else "stock"


def line(x1, y1, x2, y2):
    return '<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#20242a"/>' % (x1, y1, x2, y2)


def text(x, y, words, size=14, weight="normal"):
    return '<text x="%.1f" y="%.1f" font-size="%d" font-weight="%s" fill="#20242a">%s</text>' % (
        x, y, size, weight, escape(words)
    )
