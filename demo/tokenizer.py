"""The small model's words: a CLIP tokenizer learnt from the songs' prompts, and words that come to it later."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from tokenizers import models, pre_tokenizers, trainers
from transformers import CLIPTextModel, CLIPTokenizer

from demo.instructions import HELD_OUT_TEMPLATES, SINGERS, TRAINING_TEMPLATES
from riff.pairs.instructions import DEFAULT_INSTRUCTIONS, NOTHING, removals
from riff.seeds import new_generator
from riff.separation.stems import STEM_NAMES

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
LIKE = {  # words that come later mean what these learnt words mean
    "female": ("woman", "lady"),
    "male": ("man", "guy"),
    "vocal": ("vocals", "voice", "singer", "singing"),
    "melody": ("tune",),
}


def train_tokenizer(prompts: Sequence[str]) -> CLIPTokenizer:
    """A CLIP tokenizer (byte-level BPE) whose merges are learnt from these prompts; any other text falls into letters."""
    learner = CLIPTokenizer().backend_tokenizer
    learner.model = models.BPE(end_of_word_suffix=WORD_END)
    learner.train_from_iterator(
        sorted(set(prompts)), trainers.BpeTrainer(vocab_size=2000, end_of_word_suffix=WORD_END, show_progress=False)
    )
    learned = json.loads(learner.to_str())["model"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = dict.fromkeys([*letters, *(f"{letter}{WORD_END}" for letter in letters), *sorted(learned["vocab"]), START, END])
    return _tokenizer({token: i for i, token in enumerate(tokens)}, [tuple(merge) for merge in learned["merges"]])


def tokenize(tokenizer: CLIPTokenizer, prompts: Sequence[str]) -> torch.Tensor:
    """int64, shape (prompts, 77), padded and cut as Stable Diffusion does it."""
    return tokenizer(list(prompts), padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids


def instruction_texts() -> list[str]:
    """Texts with every word that edits are asked for in: additions in all wordings, removals, and nothing."""
    templates = [template.replace("{", "").replace("}", "") for template in (*TRAINING_TEMPLATES, *HELD_OUT_TEMPLATES)]
    singers = [singer for group in SINGERS.values() for singer in group]
    return [
        *templates,
        *singers,
        *NOTHING,
        *DEFAULT_INSTRUCTIONS.values(),
        *(text for stem in STEM_NAMES for text in removals(stem)),
    ]


def add_words(tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, texts: Sequence[str], seed: int) -> CLIPTokenizer:
    """Make one token of every word of some texts, as a large tokenizer has them, in place of its letters.

    The embeddings of new tokens are random, as large as those in use, or that of the learnt word that means the same;
    nothing is trained: whoever reads the encoder has to learn what new words mean. What could be said before is tokenized and
    encoded as before.

    Returns:
        The larger tokenizer; the text encoder grows in place.
    """
    backend = tokenizer.backend_tokenizer
    words = {word for text in texts for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))}
    state = json.loads(backend.to_str())["model"]
    vocabulary, merges = dict(state["vocab"]), [tuple(merge) for merge in state["merges"]]
    for word in sorted(words):
        # One merge at a time, each after all others: a word that is one token already is never taken apart again.
        while len(pieces := _pieces(vocabulary, merges, word)) > 1:
            vocabulary.setdefault(pieces[0] + pieces[1], len(vocabulary))
            merges.append((pieces[0], pieces[1]))
    _grow_embeddings(text_encoder, vocabulary, seed)
    return _tokenizer(vocabulary, merges)


def _grow_embeddings(text_encoder: CLIPTextModel, vocabulary: dict[str, int], seed: int) -> None:
    old = text_encoder.get_input_embeddings().weight.detach()
    new = torch.randn(len(vocabulary) - len(old), old.shape[1], generator=new_generator(seed)) * old.std()
    weight = torch.cat([old, new.to(old)])
    for learnt, words in LIKE.items():
        for word in words:
            if {learnt + WORD_END, word + WORD_END} <= set(vocabulary):
                weight[vocabulary[word + WORD_END]] = weight[vocabulary[learnt + WORD_END]]
    text_encoder.set_input_embeddings(torch.nn.Embedding.from_pretrained(weight, freeze=False))
    text_encoder.config.vocab_size = len(vocabulary)


def _tokenizer(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> CLIPTokenizer:
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def _pieces(vocabulary: dict[str, int], merges: list[tuple[str, str]], word: str) -> list[str]:
    """The tokens of one word of byte letters."""
    model = models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix=WORD_END)
    return [token.value for token in model.tokenize(word)]
