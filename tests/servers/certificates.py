"""A certificate authority of the tests' own, by the command line of OpenSSL.

ca = certificates.Authority(folder)
certificate, key = ca.issue("good", "IP:127.0.0.1")
certificate, key = ca.issue("expired", "IP:127.0.0.1", days=-1)
certificate, key = ca.issue("old", "", subject="CN=localhost")       # no alternative names
"""

import shutil
import subprocess
from pathlib import Path

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


class Authority:
    """One that nobody else trusts; `certificate` is what its clients are given."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.certificate = folder / f"{name}.crt"
        self.key = folder / f"{name}.key"
        self._openssl(
            "req", "-x509", *KEY, "-days", "2", "-subj", f"/CN=tests {name}",
            "-keyout", self.key, "-out", self.certificate,
        )  # fmt: skip

    @staticmethod
    def is_available() -> bool:
        return shutil.which("openssl") is not None

    @staticmethod
    def _openssl(*arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

    def issue(
        self, name: str, alternative: str, days: int = 2, subject: str = "CN=server"
    ) -> tuple[Path, Path]:
        """A server's certificate and its key, for "IP:…" or "DNS:…", several by commas."""
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        extensions.write_text(f"subjectAltName={alternative}\n" if alternative else "")
        self._openssl("req", *KEY, "-subj", f"/{subject}", "-keyout", key, "-out", request)
        self._openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key,
            "-CAcreateserial", "-days", days, "-extfile", extensions, "-out", certificate,
        )  # fmt: skip
        return certificate, key
