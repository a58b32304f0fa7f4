"""Components of the page and their arrangement; `riff.app.page` connects them to actions."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import gradio as gr

from riff.app.engine import MOST, MOST_CANDIDATES, MOST_STEPS, MOST_TAKES, ModelChoice
from riff.app.gate import EXAMPLES
from riff.app.tunes import HUM, MIDI
from riff.audio.io import AUDIO_SUFFIXES
from riff.audio.notes import MIDI_SUFFIXES
from riff.cli import ROOT
from riff.sampling.melody import COMPOSE, NONE, ORIGINAL
from riff.sampling.options import EditOptions, SamplingOptions
from riff.tagging.label import NO_VOICE, WORDS

STATIC = Path(__file__).parent / "static"
DEMO_SONG = ROOT / "raw-audio" / "pop-0011.ogg"
SUFFIXES = sorted(AUDIO_SUFFIXES)  # a .stem.mp4 is an .mp4
FONTS = ["ui-sans-serif", "system-ui", "sans-serif"]  # installed ones: the page requests nothing from other hosts
TEAL = "#007a74"  # colour of edges, in the reports too
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
PROMPT = "an uplifting female vocal pop melody"
ANY = "any"  # of the words for prompts

MELODIES = [
    ("the model's own", NONE),
    ("composed for the backing", COMPOSE),
    ("the original singer's", ORIGINAL),
    ("hummed by me", HUM),
    ("a MIDI file", MIDI),
]

HUM_HINT = "The part plays while you record, without its vocal once that is removed; wear headphones. A file begins with the part."
HEAD = """<h1>riff-cnet</h1><p class="lead">A new vocal for your song, over its own backing: choose a part, describe the vocal,
and listen.</p><p class="hint">The small models that come with it were trained on synthesised songs: they sing melodies without
words, and do better over simple music.</p>"""
EXAMPLE = """<figure class="card"><h3>Hear it first</h3><div class="cards">
<div><p class="hint">A synthesised song, with its own vocal</p><audio controls preload="none" src="{}"></audio></div>
<div><p class="hint">With a new one by riff-pix2pix-mini, made beforehand</p><audio controls preload="none" src="{}"></audio></div>
</div></figure>""".format(*EXAMPLES)
WAVEFORM = """<div class="waveform"><div class="lane"><canvas></canvas><div class="region">
<button type="button" class="handle start" role="slider" aria-label="start of the part" aria-valuemin="0"></button>
<button type="button" class="handle end" role="slider" aria-label="end of the part" aria-valuemin="0"></button></div>
<div class="playhead" hidden></div></div><div class="transport"><button type="button" class="play-part">Play the part</button>
<button type="button" class="play-song">Play the song</button><span class="times"></span></div>
<audio preload="auto"></audio></div>"""
NOTES = """<div class="tools"><button type="button" class="find">Show its notes</button></div>
<figure class="card" hidden><h3>The notes that will be sung</h3>
<div class="roll"><div class="lane" role="group" aria-label="notes of the melody"></div></div>
<div class="tools"><button type="button" class="hear">Hear it</button><button type="button" class="add">Add a note</button>
<button type="button" class="delete">Delete the note</button><button type="button" class="undo">Undo</button>
<button type="button" class="close">Close the notes</button><output></output></div>
<figcaption>Drag a note, or its end; a double click adds one. Arrow keys move it by a semitone or half a beat, with Shift they
lengthen it; Delete deletes it. Takes sing what stands here. Closed, the melody is sung as it was found.</figcaption></figure>"""
LIVE = """<figure class="card" hidden><h3>Playing while it is generated</h3>
<div class="transport"><button type="button" class="stop">Stop</button><progress max="1" value="0" aria-label="position"></progress>
<output></output></div><figcaption>Change the prompt, the melody or a strength while it plays: what is still to come follows.
</figcaption></figure>"""
EDGES = """<figure class="card"><h3>Edges that the model follows</h3><div class="sheet"><img alt="">
<canvas role="img" aria-label="edges of the accompaniment, to paint on"></canvas></div><div class="tools">
<button type="button" class="draw">Draw</button><button type="button" class="erase">Erase</button>
<label>size <input type="range" min="1" max="41" step="2" value="5" aria-label="size of the brush in pixels"></label>
<button type="button" class="undo">Undo</button><button type="button" class="reset">Start over</button></div>
<figcaption>The model follows the lines that you draw, and is free where you erase.</figcaption></figure>"""


class Layout:
    """The page's components.

    Args:
        models: to choose from; the first is preselected. note: on accepted files, and how long they are kept.
    """

    def __init__(self, models: Sequence[ModelChoice], note: str) -> None:
        gr.HTML(HEAD)
        self.page = gr.Textbox(visible=False)
        self._add_song(note)
        with gr.Column(visible=False) as self.rest:
            self._add_part()
            with gr.Row(visible=False, elem_classes="pair") as self.part_row:
                with gr.Column(min_width=320):
                    self.backing = gr.HTML(elem_id="backing")
                with gr.Column(visible=models[0].follows_edges, min_width=320) as self.edges_column:
                    self.edges = gr.HTML(html_template=EDGES, js_on_load=_script("edges.js"), elem_id="edges")
            self._add_vocal(models)
            self.takes = gr.HTML(js_on_load=_script("player.js"), elem_id="takes")
        with gr.Row(elem_classes="standing"):
            self.state = gr.HTML(elem_id="state")
            self.cancel = gr.Button("Cancel", visible=False, scale=0, min_width=120, elem_id="cancel")

    def _add_song(self, note: str) -> None:
        gr.HTML("<h2>1. Song</h2>")
        with gr.Column() as self.drop:
            with gr.Row(elem_classes="plain"):
                self.warning = gr.HTML(elem_id="warning")
                self.keep = gr.Button("Keep this song", size="sm", scale=0, min_width=140, visible=False, elem_id="keep-song")
            with gr.Tabs():
                with gr.Tab("A file"):
                    self.file = gr.File(label="Song", file_types=SUFFIXES, height=170, elem_id="song-file")
                with gr.Tab("Record"):
                    self.recording = gr.Audio(
                        sources=["microphone"], type="filepath", editable=False, label="Your recording", elem_id="recording"
                    )
            with gr.Row(elem_classes="plain"):
                gr.HTML(f'<p class="hint">{escape(note)}</p>', min_width=300)
                self.demo = gr.Button(
                    "Try the example song", size="sm", scale=0, min_width=170, visible=DEMO_SONG.is_file(), elem_id="demo-song"
                )
            gr.HTML(EXAMPLE, visible=all(path.is_file() for path in EXAMPLES.values()), elem_id="example")

    def _add_part(self) -> None:
        with gr.Row(elem_classes="plain"):
            self.song_line = gr.HTML()
            self.another = gr.Button("Another song", size="sm", scale=0, min_width=130, elem_id="another-song")
        self.waveform = gr.HTML(html_template=WAVEFORM, js_on_load=_script("waveform.js"), elem_id="waveform")
        with gr.Row(elem_classes="plain"):
            self.start = gr.Textbox(label="From", max_lines=1, elem_id="start", min_width=120)
            self.end = gr.Textbox(label="To", max_lines=1, elem_id="end", min_width=120)
            self.snap = gr.Checkbox(label="Keep to beats", elem_id="snap", min_width=150)
            self.prepare = gr.Button("Remove the vocal", elem_id="prepare", min_width=200)
        gr.HTML('<p class="hint">Generating removes it too. Do it first to hear the backing, and to see and edit its edges.</p>')

    def _add_vocal(self, models: Sequence[ModelChoice]) -> None:
        first = models[0]
        gr.HTML("<h2>2. Vocal</h2>")
        with gr.Row():
            self.prompt = gr.Textbox(
                label="Prompt",
                value=PROMPT,
                info="what is to be sung, in your words or of the words below",
                lines=2,
                max_lines=3,
                elem_id="prompt",
                scale=3,
                min_width=300,
            )
            self.model = gr.Radio(
                [(_label(choice), choice.title) for choice in models],
                value=first.title,
                label="Model",
                info="on recorded songs the one that adds a vocal does better; painted edges need the other one",
                elem_id="model",
                scale=2,
            )
        with gr.Row(elem_classes="words"):
            self.words = {
                kind: gr.Dropdown(
                    [ANY, *(word for word in words if word != NO_VOICE)], value=ANY, label=kind.capitalize(), min_width=110
                )
                for kind, words in WORDS.items()
            }
            self.suggest = gr.Button("", visible=False, size="sm", elem_id="suggest")
        self._add_melody(first)
        with gr.Accordion("Advanced settings", open=False, elem_id="advanced"):
            self._add_advanced(models)
        with gr.Row():
            self.generate = gr.Button("Generate vocals", variant="primary", scale=2, min_width=200, elem_id="generate")
            self.play = gr.Button("Play while generating", min_width=200, elem_id="play")
        self.live = gr.HTML(html_template=LIVE, js_on_load=_script("live.js"), elem_id="live")
        self.wait = gr.HTML(elem_id="wait")

    def _add_melody(self, first: ModelChoice) -> None:
        with gr.Row():
            self.melody = gr.Radio(MELODIES, value=first.melody, label="Melody", elem_id="melody", scale=3)
            self.melody_strength = gr.Slider(
                *(0, 1, first.melody_strength),
                step=0.05,
                label="Strength of the melody",
                info="1 keeps to it",
                visible=first.melody != NONE,
                scale=2,
            )
        with gr.Column(visible=False) as self.hum_column:
            self.hum = gr.Audio(
                sources=["microphone", "upload"],
                type="filepath",
                editable=False,
                label="Hum, sing or play one voice",
                elem_id="hum",
            )
            gr.HTML(f'<p class="hint">{HUM_HINT}</p>')
        with gr.Column(visible=False) as self.midi_column:
            self.midi = gr.File(label="MIDI file; it begins with the part", file_types=[*MIDI_SUFFIXES], height=120, elem_id="midi")
        with gr.Column(visible=first.melody != NONE) as self.notes_column:
            self.notes = gr.HTML(html_template=NOTES, js_on_load=_script("notes.js"), elem_id="notes")

    def _add_advanced(self, models: Sequence[ModelChoice]) -> None:
        scales, edges = scales_of(models[0]), models[0].follows_edges
        # A value above a slider's end would be refused, and a model may recommend any.
        usual = MOST["scale"], MOST["strength"], MOST["image_scale"]
        most = [max(ends) for ends in zip(usual, *map(scales_of, models), strict=True)]
        with gr.Row():
            self.num_takes = gr.Slider(1, MOST_TAKES, 2, step=1, label="Takes", info="each with its own seed", elem_id="num-takes")
            self.best_of = gr.Slider(1, MOST_CANDIDATES, 1, step=1, label="Best of", info="candidates generated for each take")
            self.seed = gr.Textbox(  # an empty Number becomes 0 in the browser
                "",
                label="Seed",
                max_lines=1,
                info="empty: another one every time; the seed of a take repeats it",
                placeholder="random",
                elem_id="seed",
            )
        with gr.Row():
            self.steps = gr.Slider(
                1, MOST_STEPS, models[0].options.steps, step=1, label="Steps", info="of denoising", elem_id="steps"
            )
            self.scale = gr.Slider(1, most[0], scales[0], step=0.1, label="Scale", info="weight of the prompt")
            self.strength = gr.Slider(0, most[1], scales[1], step=0.1, label="Strength", info="weight of the edges", visible=edges)
            self.image_scale = gr.Slider(
                0, most[2], scales[2], step=0.1, label="Image scale", info="weight of the backing", visible=not edges
            )
        with gr.Row(visible=edges) as self.edge_settings:
            self.low = gr.Slider(0, 500, 100, step=10, label="Lower threshold", info="an edge goes on above it")
            self.high = gr.Slider(0, 500, 200, step=10, label="Upper threshold", info="an edge begins above it")
            self.guess_mode = gr.Checkbox(label="Guess mode", info="let the edges act without the prompt", min_width=200)
        self.negative_prompt = gr.Textbox(label="Negative prompt", max_lines=2)


def scales_of(choice: ModelChoice) -> tuple[float, float, float]:
    """Recommended scale, strength and image scale; defaults for those that this type of model does not have."""
    options = choice.options
    strength = options.strength if isinstance(options, SamplingOptions) else SamplingOptions.strength
    image_scale = options.image_guidance_scale if isinstance(options, EditOptions) else EditOptions.image_guidance_scale
    return options.guidance_scale, strength, image_scale


def _label(choice: ModelChoice) -> str:
    return f"{choice.title}: {'paints the song anew along its edges' if choice.follows_edges else 'adds a vocal'}"


def _script(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")
