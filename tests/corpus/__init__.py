"""Bad input of every kind, made by code: each is answered in one line and with status 2."""
