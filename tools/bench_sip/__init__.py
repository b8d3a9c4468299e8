"""`make bench-sip`: what SIP costs here and in Asterisk, under the same load in the same run."""
