"""Our own certificate authority: who may connect to the operator and to a proxy's statistics, and as whom.

Pure: the clock is an argument and Secrets are dicts, so that the reconciler reads and writes them. `identity` says who a
certificate speaks for, `authority` makes certificates, `secrets` stores them, `contexts` uses them for TLS.

Rotation of the CA goes in three steps, each of which the next waits for: the new CA is added to every bundle (`ca.crt`)
while the old one still signs; after `authority.ROTATION_OVERLAP`, when every proxy has read it, the new one signs; the
old one leaves the bundles when nothing that it signed can be valid any more.
"""
