"""Mails about export jobs: the file or its link to the recipients, a notice of failure to the owner.

`sending.deliver_due` sends what is due. `rows` has what has become of each mail, and sends one again that an
operator names. Each mail is a row of `export_deliveries`:

    pending ──▶ claimed ──▶ sending ──▶ sent
       ▲           │           ├──────▶ failed
       └───────────┴───────────┘ └────▶ unknown

A mail is claimed by one sender. Just before the line that makes the server take it over, the row becomes
`sending`. If anything goes wrong before that, the server must discard the mail (RFC 5321, 4.1.1.4), and it is
tried again. If the connection or the sender dies after it, no protocol can tell whether the mail was
delivered: the row becomes `unknown`, operators are told, and nobody sends it again but by command. So no
mail goes out twice by itself; the one command that risks it keeps the Message-ID, by which mail programs
know the copy.
"""
