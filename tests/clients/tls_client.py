"""Makes certificates for `localhost` (tls_client.py make FOLDER), or asks a server that has it (tls_client.py ask
FOLDER PORT), trusting that certificate alone."""

import datetime
import sys
import urllib.request
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def make(folder):
    """An authority (ca.pem), the certificate that it gives (cert.pem, key.pem), and one that the same key gives to
    itself as an authority (own.pem)."""
    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer, subject = named("an authority of a test"), named("localhost")
    is_ca = x509.BasicConstraints(ca=True, path_length=None)
    host = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    root = certificate(issuer, issuer, authority.public_key()).add_extension(is_ca, critical=True)
    leaf = certificate(issuer, subject, own.public_key()).add_extension(host, critical=False)
    alone = certificate(subject, subject, own.public_key()).add_extension(is_ca, critical=True)
    alone = alone.add_extension(host, critical=False)
    for name, made, by in [("ca.pem", root, authority), ("cert.pem", leaf, authority), ("own.pem", alone, own)]:
        signed = made.sign(by, hashes.SHA256())
        (folder / name).write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    pkcs8 = serialization.PrivateFormat.PKCS8
    secret = own.private_bytes(serialization.Encoding.PEM, pkcs8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(secret)


def named(name):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def certificate(issuer, subject, key):
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    made = x509.CertificateBuilder().issuer_name(issuer).subject_name(subject).public_key(key)
    return made.serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)


def ask(folder, port):
    trusted = ssl.create_default_context(cafile=folder / "ca.pem")
    with urllib.request.urlopen(f"https://localhost:{port}/readyz", context=trusted) as answer:
        print(answer.read().decode())


if __name__ == "__main__":
    deed, folder, *more = sys.argv[1:]
    {"make": make, "ask": ask}[deed](Path(folder), *more)
