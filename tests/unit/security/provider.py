"""An identity provider as the tests need it: keys, tokens, and a real HTTPS server for the set."""

import asyncio
import base64
import datetime as dt
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

ISSUER = "https://login.example"
AUDIENCE = "tidegate"
NOW = 1_800_000_000.0


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def claims(**changes: Any) -> dict[str, Any]:
    """Claims that are valid at NOW; None takes one away."""
    plain = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ada",
        "tenant": "acme",
        "iat": int(NOW) - 10,
        "exp": int(NOW) + 300,
    }
    return {name: value for name, value in (plain | changes).items() if value is not None}


def public(key: Key, kid: str | None = None, **more: Any) -> dict[str, Any]:
    named = {} if kid is None else {"kid": kid}
    return {**key.as_dict(private=False), **named, **more}


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def sign(
    key: Key,
    algorithm: str,
    payload: dict[str, Any] | bytes,
    kid: str | None = None,
    **header: Any,
) -> str:
    """A token; the header may hold anything."""
    full = {"alg": algorithm, "typ": "JWT"} | ({} if kid is None else {"kid": kid}) | header
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signed = f"{b64(json.dumps(full).encode())}.{b64(body)}"
    model = jws.JWSRegistry.algorithms[algorithm]
    return f"{signed}.{b64(model.sign(signed.encode(), key))}"


RSA = RSAKey.generate_key(2048)
OTHER_RSA = RSAKey.generate_key(2048)
EC = ECKey.generate_key("P-256")
ED = OKPKey.generate_key("Ed25519")
SET = key_set(public(RSA, "rsa"), public(EC, "ec"), public(ED, "ed"))


@dataclass
class Provider:
    """What the server answers, and how often it was asked."""

    url: str = ""
    body: bytes = SET
    status: str = "200 OK"
    headers: list[str] = field(default_factory=list)
    delay_s: float = 0.0
    asked: int = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked += 1
                await asyncio.sleep(self.delay_s)
                lines = [f"HTTP/1.1 {self.status}", f"content-length: {len(self.body)}"]
                head = "\r\n".join([*lines, *self.headers, "", ""])
                writer.write(head.encode() + self.body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serve(directory: Path) -> AsyncIterator[Provider]:
    """A server on this machine with a certificate of its own, `directory/ca.pem`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(directory))
    provider = Provider()
    server = await asyncio.start_server(provider.answer, "127.0.0.1", 0, ssl=context)
    provider.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json"
    try:
        yield provider
    finally:
        server.close()


def certificate(directory: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "provider")])
    today = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    (directory / "ca.pem").write_bytes(pem)
    chain = directory / "chain.pem"
    chain.write_bytes(
        pem
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return chain
