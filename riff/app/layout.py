"""What stands where on the page. What it does is in `riff.app.page`."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import gradio as gr

from riff.app.engine import MOST_CANDIDATES, MOST_STEPS, MOST_TAKES, ModelChoice
from riff.audio.io import AUDIO_SUFFIXES, STEM_FILE_SUFFIX
from riff.cli import ROOT
from riff.sampling.options import EditOptions, SamplingOptions

STATIC = Path(__file__).parent / "static"
DEMO_SONG = ROOT / "raw-audio" / "pop-0005.ogg"
SUFFIXES = [*sorted(AUDIO_SUFFIXES), Path(STEM_FILE_SUFFIX).suffix]
FONTS = ["ui-sans-serif", "system-ui", "sans-serif"]  # of the visitor's machine: nothing is fetched from elsewhere
TEAL = "#007a74"  # of edges everywhere in this project
THEME = gr.themes.Default(primary_hue="teal", neutral_hue="gray", font=FONTS, font_mono=["ui-monospace", "monospace"]).set(
    body_text_color_subdued="*neutral_500",
    block_info_text_color="*neutral_500",
    button_primary_background_fill=TEAL,
    button_primary_background_fill_hover="#00635e",
    button_primary_background_fill_dark=TEAL,
    button_primary_background_fill_hover_dark="#00635e",
    slider_color=TEAL,
    checkbox_background_color_selected=TEAL,
    checkbox_border_color_selected=TEAL,
)
FOLLOWING, TOLD = "Generate an uplifting female vocal pop melody", "add an uplifting female vocal pop melody"

HEAD = """<h1>riff-cnet</h1><p class="lead">A new vocal for your song over its own backing: choose a part, say what is to be sung,
and listen.</p>"""
WAVEFORM = """<div class="waveform"><div class="lane"><canvas></canvas><div class="region">
<button type="button" class="handle start" role="slider" aria-label="where the part begins" aria-valuemin="0"></button>
<button type="button" class="handle end" role="slider" aria-label="where the part ends" aria-valuemin="0"></button></div>
<div class="playhead" hidden></div></div><div class="transport"><button type="button" class="play-part">Play the part</button>
<button type="button" class="play-song">Play the song</button><span class="times"></span></div>
<audio preload="auto"></audio></div>"""
EDGES = """<figure class="card"><h4>Edges that the model follows</h4><div class="sheet"><img alt="">
<canvas aria-label="edges of the accompaniment, to paint on"></canvas></div><div class="tools">
<button type="button" class="draw">Draw</button><button type="button" class="erase">Erase</button>
<label>size <input type="range" min="1" max="41" step="2" value="5" aria-label="size of the brush in pixels"></label>
<button type="button" class="undo">Undo</button><button type="button" class="again">Start over</button></div>
<figcaption>Drawn lines are sung or played along; what is erased is left to the model.</figcaption></figure>"""


class Layout:
    """The page's components, by what they are.

    Args:
        models: that are offered; the first is chosen. note: on what may be dropped, and what becomes of it.
    """

    def __init__(self, models: Sequence[ModelChoice], note: str) -> None:
        gr.HTML(HEAD)
        self._add_song(note)
        with gr.Column(visible=False) as self.rest:
            self._add_part()
            with gr.Row(visible=False, elem_classes="pair") as self.part_row:
                with gr.Column(min_width=320):
                    self.backing = gr.HTML(elem_id="backing")
                with gr.Column(visible=models[0].follows_edges, min_width=320) as self.edges_column:
                    self.edges = gr.HTML(html_template=EDGES, js_on_load=_script("edges.js"), elem_id="edges")
            self._add_vocal(models)
            self.takes = gr.HTML(elem_id="takes")
        with gr.Row(elem_classes="standing"):
            self.state = gr.HTML(elem_id="state")
            self.cancel = gr.Button("Cancel", visible=False, scale=0, min_width=120, elem_id="cancel")

    def _add_song(self, note: str) -> None:
        gr.HTML("<h2>1. Song</h2>")
        with gr.Column() as self.drop:
            with gr.Tabs():
                with gr.Tab("A file"):
                    self.file = gr.File(label="Song", file_types=SUFFIXES, height=170, elem_id="song-file")
                with gr.Tab("Record"):
                    self.recording = gr.Audio(
                        sources=["microphone"], type="filepath", editable=False, label="Sing or play", elem_id="recording"
                    )
            with gr.Row(elem_classes="plain"):
                gr.HTML(f'<p class="hint">{escape(note)}</p>', min_width=300)
                self.demo = gr.Button(
                    "Try a song of ours", size="sm", scale=0, min_width=170, visible=DEMO_SONG.is_file(), elem_id="demo-song"
                )

    def _add_part(self) -> None:
        with gr.Row(elem_classes="plain"):
            self.song_line = gr.HTML()
            self.another = gr.Button("Another song", size="sm", scale=0, min_width=130, elem_id="another-song")
        self.waveform = gr.HTML(html_template=WAVEFORM, js_on_load=_script("waveform.js"), elem_id="waveform")
        with gr.Row(elem_classes="plain"):
            self.start = gr.Number(label="From, seconds", minimum=0, step=0.1, elem_id="start", min_width=120)
            self.end = gr.Number(label="To, seconds", minimum=0, step=0.1, elem_id="end", min_width=120)
            self.prepare = gr.Button("Take the vocal out", elem_id="prepare", min_width=200)
        gr.HTML('<p class="hint">Singing takes it out too. Do it first to hear the backing and to see and change its edges.</p>')

    def _add_vocal(self, models: Sequence[ModelChoice]) -> None:
        first = models[0]
        gr.HTML("<h2>2. Vocal</h2>")
        with gr.Row():
            self.prompt = gr.Textbox(
                label="Prompt: what is to be sung",
                value=prompt_for(first),
                lines=2,
                max_lines=3,
                elem_id="prompt",
                scale=3,
                min_width=300,
            )
            self.model = gr.Radio(
                [(_described(choice), choice.title) for choice in models],
                value=first.title,
                label="Model",
                elem_id="model",
                scale=2,
            )
        with gr.Accordion("Advanced settings", open=False, elem_id="advanced"):
            self._add_advanced(first)
        self.sing = gr.Button("Sing it anew", variant="primary", elem_id="sing")

    def _add_advanced(self, first: ModelChoice) -> None:
        scales, edges = scales_of(first), first.follows_edges
        with gr.Row():
            self.num_takes = gr.Slider(
                1, MOST_TAKES, 2, step=1, label="Takes", info="to compare, of a seed each", elem_id="takes-wanted"
            )
            self.best_of = gr.Slider(1, MOST_CANDIDATES, 1, step=1, label="Best of", info="so many are made for each take kept")
            self.seed = gr.Number(
                None,
                label="Seed",
                precision=0,
                minimum=0,
                info="empty: another one every time; a take's own gives it again",
                placeholder="fresh",
                elem_id="seed",
            )
        with gr.Row():
            self.steps = gr.Slider(1, MOST_STEPS, 20, step=1, label="Steps", info="of denoising", elem_id="steps")
            self.scale = gr.Slider(1, 15, scales[0], step=0.1, label="Scale", info="how hard the words pull")
            self.strength = gr.Slider(0, 3, scales[1], step=0.1, label="Strength", info="how hard the edges pull", visible=edges)
            self.image_scale = gr.Slider(
                0, 5, scales[2], step=0.1, label="Picture scale", info="how hard the backing pulls", visible=not edges
            )
        with gr.Row(visible=edges) as self.edge_settings:
            self.low = gr.Slider(0, 500, 100, step=10, label="Lower threshold", info="of edges: where one may go on")
            self.high = gr.Slider(0, 500, 200, step=10, label="Upper threshold", info="of edges: where one may begin")
            self.guess_mode = gr.Checkbox(label="Guess mode", info="the edges alone say what to draw")
        self.negative_prompt = gr.Textbox(label="What is not to be sung", max_lines=2)


def prompt_for(choice: ModelChoice) -> str:
    """What stands in the prompt before anybody has written one, in the words that the kind of model is told things in."""
    return FOLLOWING if choice.follows_edges else TOLD


def scales_of(choice: ModelChoice) -> tuple[float, float, float]:
    """Scale, strength and picture scale that a model recommends; what it does not have is the default of those that do."""
    options = choice.options
    strength = options.strength if isinstance(options, SamplingOptions) else SamplingOptions.strength
    image_scale = options.image_guidance_scale if isinstance(options, EditOptions) else EditOptions.image_guidance_scale
    return options.guidance_scale, strength, image_scale


def _described(choice: ModelChoice) -> str:
    return f"{choice.title}: {'follows edges' if choice.follows_edges else 'follows an instruction'}"


def _script(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")
