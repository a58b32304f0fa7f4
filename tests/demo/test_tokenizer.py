"""The small model's words: those learnt from prompts, and those that come later without changing earlier ones."""

from __future__ import annotations

import pytest
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from demo.diffusion import DiffusionRecipe, new_text_encoder
from demo.tokenizer import add_words, instruction_texts, tokenize, train_tokenizer

PROMPTS = ["Generate a sad male vocal pop melody", "Generate a happy female vocal rock melody"]
LATER = ["put a lady on top, singing a banana tune", "banana bananas anna"]


@pytest.fixture
def before() -> tuple[CLIPTokenizer, CLIPTextModel]:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(PROMPTS)
    return tokenizer, new_text_encoder(tokenizer, DiffusionRecipe(text_width=32, text_layers=1)).eval()


def words(tokenizer: CLIPTokenizer, text: str) -> list[str]:
    return [token.removesuffix("</w>") for token in tokenizer.tokenize(text)]


def test_new_words_become_one_token_each(before: tuple[CLIPTokenizer, CLIPTextModel]) -> None:
    tokenizer, text_encoder = before
    larger = add_words(tokenizer, text_encoder, LATER, 0)
    assert len(words(tokenizer, "banana")) > 1
    for text in LATER:
        assert words(larger, text) == text.replace(",", " ,").split()
    assert len(larger) == text_encoder.get_input_embeddings().num_embeddings == text_encoder.config.vocab_size


@torch.inference_mode()
def test_what_could_be_said_before_is_encoded_as_before(before: tuple[CLIPTokenizer, CLIPTextModel]) -> None:
    tokenizer, text_encoder = before
    texts = [*PROMPTS, "", "zebra xyzzy 7!"]
    tokens, encoded = tokenize(tokenizer, texts), text_encoder(tokenize(tokenizer, texts)).last_hidden_state
    larger = add_words(tokenizer, text_encoder, LATER, 0)
    assert torch.equal(tokenize(larger, texts), tokens)
    assert torch.equal(text_encoder(tokens).last_hidden_state, encoded)


@torch.inference_mode()
def test_words_of_one_meaning_are_encoded_alike(before: tuple[CLIPTokenizer, CLIPTextModel]) -> None:
    tokenizer, text_encoder = before
    larger = add_words(tokenizer, text_encoder, ["a lady", "a banana"], 0)
    female, lady, banana = (
        text_encoder(tokenize(larger, [f"a {word}"])).last_hidden_state for word in ("female", "lady", "banana")
    )
    assert torch.equal(female, lady)
    assert not torch.allclose(female, banana, atol=0.1)


def test_the_model_in_the_box_knows_every_word_of_the_instructions() -> None:
    tokenizer = CLIPTokenizer.from_pretrained("models/riffusion-mini/tokenizer")
    for text in instruction_texts():
        assert len(words(tokenizer, text)) == len(text.replace(",", " ,").replace(":", " :").split()), text
