"""SIP: message syntax, transactions, dialogs, registrar and the user agent core, all without I/O (L1)."""
