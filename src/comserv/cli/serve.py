"""`comserv serve`: the web page, the REST API and the jobs, until it is told to stop."""

from pathlib import Path
from typing import Annotated

import typer

from comserv.cli.local import as_refusal, settings


def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on; any but loopback needs --tls.")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes a free one.", min=0, max=65535)] = None,
    tls: Annotated[
        str | None, typer.Option(help="self-signed (its fingerprint is printed), or CERTIFICATE.pem,KEY.pem.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="The certificate, PEM; with --tls-key.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key, PEM, without a passphrase.")] = None,
    behind_proxy: Annotated[
        str | None, typer.Option(metavar="CIDR[,CIDR]", help="A proxy there ends TLS; needs --public-url.")
    ] = None,
    public_url: Annotated[str | None, typer.Option(metavar="URL", help="The address that browsers use.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where database and key lie.")] = None,
) -> None:
    """Run Comserv. What is not given comes from COMSERV_HOST, COMSERV_PORT and so on."""
    chosen = settings(
        host=host,
        port=port,
        tls=tls,
        tls_cert=tls_cert,
        tls_key=tls_key,
        behind_proxy=behind_proxy,
        public_url=public_url,
        data_dir=data_dir,
    )
    from comserv import app
    from comserv.domain.errors import ComservError

    try:
        app.serve(chosen)
    except ComservError as error:
        raise as_refusal(error) from error
