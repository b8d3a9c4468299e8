"""A day of a branch's SIP telephones in virtual time: `make soak-sip`, counted before and after."""
