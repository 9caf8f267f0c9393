"""Makes a certificate for `localhost` (tls_client.py make FOLDER), or asks a server that has it (tls_client.py ask
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
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pkcs8 = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, pkcs8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(secret)


def ask(folder, port):
    trusted = ssl.create_default_context(cafile=folder / "cert.pem")
    with urllib.request.urlopen(f"https://localhost:{port}/readyz", context=trusted) as answer:
        print(answer.read().decode())


if __name__ == "__main__":
    deed, folder, *more = sys.argv[1:]
    {"make": make, "ask": ask}[deed](Path(folder), *more)
