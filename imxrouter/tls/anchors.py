"""Where trusted authorities come from: the system's store, or PEM files that the configuration names."""

from __future__ import annotations

import os
import ssl
import warnings
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning

from imxrouter.model.errors import RouterError
from imxrouter.tls import pem
from imxrouter.tls.peer import Anchors, Intermediates

# Once for all: some old roots of every system have such a serial number, and nobody here can change that.
warnings.filterwarnings("ignore", "Parsed a serial number", CryptographyDeprecationWarning)

#: Where distributions keep the bundle; the wheels of cryptography know of none.
BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


class BadAnchors(RouterError):
    """A file of trusted authorities cannot be used; names the file, what is wrong and what to do."""


def anchors_from(trust: Iterable[str], known: Intermediates | None = None) -> Anchors:
    """Make the anchors of a configuration.

    Args:
        trust: `system`, and paths of PEM files. With `system` among them, files add to the system's store.
        known: intermediates for resumed sessions, shared by all sets of a process.

    Raises:
        BadAnchors: a file cannot be read or holds no certificate.
    """
    words = list(trust)
    found: list[x509.Certificate] = []
    for word in words:
        found += _system() if word == "system" else _from_file(Path(word))
    return Anchors(found, partial="system" not in words, known=known, source=", ".join(words))


def system_bundle() -> Path | None:
    """The file with the system's authorities: that of SSL_CERT_FILE, else where distributions keep it."""
    paths = ssl.get_default_verify_paths()
    named = [os.environ.get(paths.openssl_cafile_env, ""), *BUNDLES, paths.cafile or ""]
    return next((Path(name) for name in named if name and Path(name).is_file()), None)


def _system() -> list[x509.Certificate]:
    bundle = system_bundle()
    if bundle is None:
        raise BadAnchors(
            "tls.trust: the system has no file of authorities: install ca-certificates, or name a PEM file"
        )
    good: list[x509.Certificate] = []
    for label, block in pem.blocks(bundle.read_bytes()):
        if label == "CERTIFICATE":
            try:
                good.append(x509.load_pem_x509_certificate(block))
            except ValueError:  # an old root that is encoded wrongly takes nobody else's trust away
                continue
    return good


def _from_file(path: Path) -> list[x509.Certificate]:
    try:
        found = pem.certificates(path.read_bytes())
    except OSError as error:
        raise BadAnchors(f"{path}: {error.strerror}: name a readable PEM file") from None
    except ValueError as error:
        raise BadAnchors(
            f"{path}: a certificate in it cannot be read ({error}): export it again as PEM"
        ) from None
    if not found:
        raise BadAnchors(f"{path}: no certificate in it: name a PEM file with BEGIN CERTIFICATE")
    return found
