"""The command line's root: every noun, and the one place where errors become words and exit codes."""

import sys

import typer

from comserv.cli import account, doctor, guest, job, serve, server, setuplink, token, user, vm
from comserv.cli.exits import CommandError, Exit, explained
from comserv.cli.output import print_problem

HELP = """Manages virtual machines on any number of Proxmox VE servers.

serve, setup-link, user, token and doctor act on this machine's data folder (COMSERV_DATA_DIR). Everything else speaks to a
running Comserv: COMSERV_URL with COMSERV_TOKEN. --json prints what the API gives.
"""

app = typer.Typer(
    help=HELP,
    epilog=explained(),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve.serve)
app.command("setup-link")(setuplink.setup_link)
app.command("doctor")(doctor.doctor)
app.add_typer(guest.app, name="guest")
app.add_typer(vm.app, name="vm")
app.add_typer(job.app, name="job")
app.add_typer(server.app, name="server")
app.add_typer(user.app, name="user")
app.add_typer(token.app, name="token")
app.add_typer(account.account, name="account")
app.add_typer(account.session, name="session")
app.add_typer(account.ssh_key, name="ssh-key")


def main() -> None:
    """The process's outermost edge."""
    try:
        app(prog_name="comserv")
    except CommandError as error:
        print_problem(error.problem, "--json" in sys.argv)
        sys.exit(error.exit)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(Exit.ERROR)
