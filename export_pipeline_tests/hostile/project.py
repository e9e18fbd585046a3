"""A takeoff project whose every text is hostile."""

from export_pipeline.demo.takeoff import ConditionSample, ProjectSample

HOSTILE_PROJECT = ProjectSample(
    "=HYPERLINK(\"http://example.invalid\",\"Click\")", "<b>Client</b> & Söhne \"AG\"",
    "Line one\nLine two\ttab </para><img src=x onerror=alert(1)> ]]> %s {0} ${jndi:x} \x0b\x0c \u202egnp.exe",
    "draft", ("../../etc/passwd.pdf",), 3,
    (
        ConditionSample("Summary", "-1+1", "area", "#3B82F6", ("polygon",), None, 1.0),
        ConditionSample("summary", "@SUM(A1)", "linear", "#zzzzzz", ("line", "circle"), None, 2.0),
        ConditionSample("By Page", None, "count", "red", ("point",)),
        ConditionSample("A name: with/every\\sign?that*[sheets] forbid and more than 31 letters", "+", "volume",
                        "#00FF00", ("rectangle",), 12.0, 3.0, "=1+1"),
        ConditionSample("A name: with/every\\sign?that*[sheets] forbid and more than 31 letters!", "\t=1", "area",
                        "#00F", ("polygon",), None, None, "'; DROP TABLE projects; --"),
        ConditionSample("-4\" slab", "History", "area", "", ("circle",), None, 4.0),
        ConditionSample("😀 emoji e\u0301 \u200d 👩‍👩‍👧 ﷽ \u202eevil\u202c", "<category>", "linear", "#123456", ("polyline",)),
        ConditionSample(" ", "", "count", "#ABCDEF", ()),
    ),
    300, (None, "", "=1+1", "+49 30 123456", "-2+3", "@here", "\tTAB", "\rCR", "\nLF", "＝1+1", "'quoted'", "a,b;c|d\"e",
          "line 1\r\nline 2", "007", "1E5", "NaN", "null", "\x01\x02\x1f", "\ufffe", "<script>alert('x')</script>",
          "&amp; &#x41; &unknown;", "]]>", "_x0041_", "x" * 400, "word " * 300, "\u202eright-to-left override"),
)  # fmt: skip
