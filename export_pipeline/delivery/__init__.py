"""Mails about export jobs: the file or its link to the recipients, a notice of failure to the owner.

`send.deliver_due` sends the mails that are due. `queue` has the state of each mail, and resends mails that an
operator names. Each mail is a row of `export_deliveries`:

    pending ──▶ claimed ──▶ sending ──▶ sent
       ▲           │           ├──────▶ failed
       └───────────┴───────────┘ └────▶ unknown

One sender claims a mail. Just before the line that ends the mail and makes the server accept it, the row
becomes `sending`. If anything fails before that, the server must discard the mail (RFC 5321, 4.1.1.4), and
the mail is tried again. If the connection or the sender dies afterwards, no protocol can tell whether the
mail was delivered. The row becomes `unknown`, operators are notified, and only a command sends the mail
again. So no mail is sent twice automatically. The one command that risks a copy keeps the Message-ID, by
which mail programs recognize it.
"""
