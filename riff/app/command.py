"""A page in the browser: drop in a song, choose a part, describe the vocal, and listen to takes over the song's own backing.

    python app.py
    python app.py --host 0.0.0.0 --port 7860 --max_minutes 8 --separator demucs
    python app.py --model models/riff-cnet-final --model OWNER/NAME --keep outputs/sessions

The small models of this repository need neither a GPU nor a network. Models trained into models/ are offered too, others with
--model. The page is reachable from this machine only, unless --host is given. Songs and takes are deleted when their page is closed
or the server ends, unless --keep names a folder. Needs Gradio: pip install '.[app]'.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from riff import cli
from riff.devices import choose_device
from riff.errors import OptionError

SEPARATORS = ("auto", *cli.SEPARATORS, "none")


def parse_args(argv: Sequence[str] | None = None) -> cli.argparse.Namespace:
    parser = cli.ArgumentParser(__doc__)
    add = parser.add_argument
    host, port = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), os.environ.get("GRADIO_SERVER_PORT", "7860")
    parser.heading("server")
    add("--host", default=host, help="address to listen at; 0.0.0.0 is all networks of this machine")
    add("--port", type=cli.whole(0, 65535), default=port, help="to listen at; 0 is the first free one from 7860 on")
    parser.add_flag("share", default=False, help="a public address too, for 72 hours, through Gradio's server")
    parser.heading("models")
    add(
        "--model",
        action="append",
        default=[],
        help="control or edit model to offer besides those in models/: folder, .ckpt or hub id; may be given several times",
    )
    add("--base", help="base to use instead of the one that each model names")
    parser.add_device()
    parser.heading("separation")
    add(
        "--separator",
        default="auto",
        choices=SEPARATORS,
        help="how songs are separated: spleeter (80 MB of weights, downloaded once), demucs or demucs_ft (better; pip install "
        "demucs), repet (no weights, any machine, far worse), auto (spleeter, else repet; a .stem.mp4 has its own stems), none "
        "(uploads are backings already)",
    )
    add("--spleeter_model_dir", type=Path, help="folder of Spleeter's weights (default: MODEL_PATH, else the user's cache)")
    parser.heading("visitors")
    add("--max_megabytes", type=cli.real(above=0), default=100.0, help="of an upload")
    add("--max_minutes", type=cli.real(above=0), default=15.0, help="of an upload")
    add("--max_seconds", type=cli.times(6), default=30.0, help="of a part that vocals are generated for")
    add("--keep", type=Path, metavar="DIR", help="keep songs and takes there (default: deleted when their page is closed)")
    return parser.parse_args(argv)


@cli.command
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    for number in {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:  # Windows has no SIGHUP
        signal.signal(number, _interrupt)
    root = Path(tempfile.mkdtemp(prefix="riff-app-"))
    try:
        _serve(args, root)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the deletion
        shutil.rmtree(root, ignore_errors=True)


def _serve(args: cli.argparse.Namespace, root: Path) -> None:
    # Partial uploads are written there too; Gradio reads these variables when it is imported.
    tempfile.tempdir = str(root)
    os.environ.update(GRADIO_TEMP_DIR=str(root / "uploads"), GRADIO_ANALYTICS_ENABLED="False")
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise OptionError(f"the page needs Gradio ({error}); install it with: pip install '.[app]'") from error
    from starlette.middleware import Middleware

    from riff.app.actions import Actions
    from riff.app.engine import Engine, offered_models
    from riff.app.gate import Gate
    from riff.app.layout import STATIC, THEME
    from riff.app.page import Page
    from riff.app.sessions import Sessions
    from riff.app.songs import Limits, Separation
    from riff.separation.separator import SeparationOptions

    device = choose_device(args.device, mps=True)
    engine = Engine(offered_models(args.model), args.base, device)
    options = SeparationOptions(args.separator, device=device, spleeter_model_dir=args.spleeter_model_dir)
    sessions = Sessions(root, args.keep)
    actions = Actions(engine, Separation(options, cli.warn), sessions, Limits(args.max_minutes, args.max_seconds))
    blocks = Page(actions, args.max_megabytes).build()
    no_api_docs = dict.fromkeys(("docs_url", "redoc_url", "openapi_url"))
    server: dict[str, Any] = {
        "app_kwargs": {"middleware": [Middleware(Gate, sessions=sessions)], **no_api_docs},
        "max_file_size": round(args.max_megabytes * 2**20),
        "allowed_paths": [],
        "footer_links": [],
        **dict.fromkeys(("ssr_mode", "mcp_server", "enable_monitoring", "pwa", "show_error", "inbrowser"), False),
    }
    blocks.queue(api_open=False)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # Gradio's own lines about a public address
            blocks.launch(
                server_name=args.host,
                server_port=args.port or None,
                theme=THEME,
                css_paths=STATIC / "page.css",
                quiet=True,
                share=args.share,
                prevent_thread_lock=True,
                **server,
            )
        if args.share and not blocks.share_url:
            raise OptionError("--share: Gradio's server for public addresses cannot be reached; check the network, or leave it out")
        print(f"open {blocks.share_url or blocks.local_url}", flush=True)
        while blocks.is_running:
            time.sleep(1.0)
    except OSError as error:
        raise OptionError(
            f"--port {args.port}: taken already, or --host {args.host} is not this machine; choose another"
        ) from error
    finally:
        actions.close()
        blocks.close(verbose=False)


def _interrupt(_number: int, _frame: object) -> None:
    """Handle the signal as Ctrl-C, so that temporary files are deleted."""
    raise KeyboardInterrupt
