"""A page in the browser: drop in a song, choose a part, say what is to be sung, and listen to new vocals over its own backing.

    python app.py
    python app.py --host 0.0.0.0 --port 7860 --max_minutes 8 --separator demucs
    python app.py --model models/riff-cnet-final --model OWNER/NAME --keep outputs/sessions

The small models of this repository are there at once, on a CPU and without a network; what training has left in models/ is offered
by itself, and anything else with --model. Only this machine reaches the page unless --host says otherwise. Songs and takes are
gone when their page is closed or the server ends, unless there is a folder to --keep them in. Needs Gradio: pip install '.[app]'.
"""

from riff import cli
from riff.app.command import main

if __name__ == "__main__":
    cli.run(lambda argv: main(argv, __doc__))
