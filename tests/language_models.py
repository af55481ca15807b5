"""Tiny causal language models that know a few sentences by heart, so that their answers are known."""

from pathlib import Path

SENTENCES = [
    "the quick brown fox jumps over the lazy dog.",
    "one two three four five six seven eight nine ten.",
    "une été à la plage 🏖 café.",
]
CHATS = {"hello": "hello, how are you?", "bye": "see you soon."}
TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}{{ raise_exception('unknown role') }}{% endif %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
POSITIONS = 256
_SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]


def save_language_model(folder: Path, kind: str = "llama") -> Path:
    """A Llama or GPT-2 of two layers with a byte-level vocabulary, as `save_pretrained` lays it out.

    The Llama has a chat template, GPT-2 has none. An "endless" model is a Llama that has learnt nothing
    and knows no token that ends a text, so that it always goes on to the length that is wanted.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    bytes_alone = pre_tokenizers.ByteLevel.alphabet()
    # The words of the first sentence get tokens of their own; all else is bytes, of which an é takes two.
    trainer = trainers.BpeTrainer(special_tokens=_SPECIAL, initial_alphabet=bytes_alone, vocab_size=300)
    tokenizer.train_from_iterator([SENTENCES[0]] * 4, trainer)
    end = None if kind == "endless" else "<|end|>"
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token=end)
    fast.chat_template = None if kind == "gpt2" else TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    ids = {"eos_token_id": fast.eos_token_id, "pad_token_id": fast.pad_token_id, "bos_token_id": None}
    if kind != "gpt2":
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(fast),
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=POSITIONS if kind == "llama" else 16 * POSITIONS,
                **ids,
            )
        )
    else:
        model = GPT2LMHeadModel(
            GPT2Config(vocab_size=len(fast), n_embd=64, n_layer=2, n_head=4, n_positions=POSITIONS, **ids)
        )
    chats = [f"<|user|>{asked}<|end|><|assistant|>{told}" for asked, told in CHATS.items()]
    if kind != "endless":
        _learn(model, fast, [f"{text}<|end|>" for text in SENTENCES + chats])
    model.save_pretrained(folder)
    return folder


def _learn(model, tokenizer, texts: list[str]) -> None:
    import torch

    batch = tokenizer(texts, return_tensors="pt", padding=True)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, fused=True)
    for _ in range(150):
        loss = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss < 0.05, f"the model has not learnt its sentences: {loss}"
    model.eval()
