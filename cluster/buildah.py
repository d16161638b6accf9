"""buildah with a storage of its own under the cache folder. Containerfiles are the project's; nothing else is built."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.shell import run, succeeds

BUILD_SETTINGS = (
    "PIP_",
    "UV_",
    "SSL_CERT_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
CERTIFICATES = Path("/etc/ssl/certs")
REMEDY = "the log names the instruction that failed; the same command goes on from the layers that were built"


@dataclass(frozen=True)
class Buildah:
    """`folder` holds storage, wheel caches and temporary files."""

    folder: Path

    def has(self, reference: str) -> bool:
        return succeeds(self._command("inspect", "--type", "image", reference))

    def from_archive(self, archive: Path, reference: str, log: Path) -> None:
        """An image of one layer from the tar of a root file system. Errors: StepError."""
        context = self.folder / "root-context"
        context.mkdir(parents=True, exist_ok=True)
        (context / "Containerfile").write_text(f"FROM scratch\nADD {archive.name} /\n")
        linked = context / archive.name
        linked.unlink(missing_ok=True)
        linked.hardlink_to(archive)
        self._run("bud", "--isolation", "chroot", "--timestamp", "0", "--tag", reference, context, log=log)
        linked.unlink()

    def build(
        self, context: Path, containerfile: Path, reference: str, arguments: Mapping[str, str], log: Path
    ) -> None:
        """Build with layer cache. The machine's download settings go in as a secret file. Errors: StepError."""
        settings = self.folder / "build-env"
        settings.write_text(
            "".join(f"{k}={shlex.quote(v)}\n" for k, v in sorted(os.environ.items()) if k.startswith(BUILD_SETTINGS))
        )
        settings.chmod(0o600)
        options: list[str | Path] = [
            option for name, value in arguments.items() for option in ("--build-arg", f"{name}={value}")
        ]
        if CERTIFICATES.is_dir():
            options += ["--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro"]
        self._run(
            *("bud", "--isolation", "chroot", "--layers", "--network", "host", "--format", "oci"),
            *("--secret", f"id=build-env,src={settings}"),
            *options,
            *("--file", containerfile, "--tag", reference, context),
            log=log,
        )

    def read(self, reference: str, path: str) -> str:
        """Text of a file of an image in the storage. Errors: StepError; FileNotFoundError."""
        container = run(self._command("from", "--pull-never", reference)).strip()
        try:
            return (Path(run(self._command("mount", container)).strip()) / path.lstrip("/")).read_text()
        finally:
            run(self._command("rm", container))

    def push(self, reference: str, target: str, log: Path) -> None:
        """Push to a registry. Errors: StepError."""
        self._run("push", "--quiet", reference, f"docker://{target}", log=log)

    def export(self, reference: str, layout_folder: Path, name: str, log: Path) -> None:
        """Copy into an OCI layout folder as `name`; layers that lie there are not even read. Errors: StepError."""
        storage = f"[overlay@{self.folder}/storage+{self.folder}/run]"
        # skopeo, because buildah would compress every layer anew on each push to such a folder.
        copy = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers"]
        run([*copy, f"containers-storage:{storage}{reference}", f"oci:{layout_folder}:{name}"], log=log, remedy=REMEDY)

    def remove(self, reference: str) -> None:
        """Forget an image; layers that others use stay. One that is not there is no error."""
        succeeds(self._command("rmi", reference))

    def tags(self, name: str) -> list[str]:
        """Every reference of the image `name` in the storage."""
        listed = run(self._command("images", "--format", "{{.Name}}:{{.Tag}}", "--noheading")).split()
        return [reference for reference in listed if reference.rpartition(":")[0] == name]

    def _run(self, *arguments: str | Path, log: Path) -> None:
        temporary = self.folder / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        run(self._command(*arguments), log=log, remedy=REMEDY, env={**os.environ, "TMPDIR": str(temporary)})

    def _command(self, *arguments: str | Path) -> list[str]:
        storage = ["--root", self.folder / "storage", "--runroot", self.folder / "run", "--storage-driver", "overlay"]
        return [str(part) for part in ("buildah", *storage, *arguments)]
