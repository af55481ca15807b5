"""A causal language model, loaded and ready to continue texts and conversations."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfpc.base_model import BaseModel
from hfpc.errors import ArgumentError, ModelError
from hfpc.inference import chat
from hfpc.inference.incremental_text import IncrementalText
from hfpc.inference.sampling import Sampling

if TYPE_CHECKING:
    import torch

CONTEXT = {"cpu": 8192, "cuda": 32_768}
"""Most tokens of a prompt and its continuation: what several of them at once can keep in memory."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What is continued.

    Attributes:
        text: As text, a conversation as its chat template writes it.
        ids: Token ids, at least one.
    """

    text: str
    ids: list[int]


@dataclass(frozen=True, kw_only=True)
class Token:
    """One generated token.

    Attributes:
        id: Its token id.
        text: The text that is certain now: "" while a character or a possible stop text is not whole.
        logprob: Natural logarithm of the probability that the model gave it, before temperature,
            `top_k` and `top_p`.
        special: Whether it stands for no text, as the end of a text does.
        finish_reason: Why it is the last one: "eos_token", "stop_sequence" or "length" (as many as
            wanted, as the context holds, or as the time allows); "" where it is not.
    """

    id: int
    text: str
    logprob: float
    special: bool
    finish_reason: str = ""


class Generator:
    """A causal language model.

    Several threads may use it at once. Generations are not merged into batches: Transformers 5 can
    do so, but only with the same temperature and without seeds for all of them.

    Args:
        folder: A folder as `save_pretrained` of Transformers writes it, with safetensors weights. Its
            own Python code never runs. The sampling settings in its `generation_config.json` are not
            used: a request says what it wants.
        device: A torch device, or "auto" for the first GPU there is, else the CPU.

    Raises:
        ModelError: Its weights or its tokenizer do not load, or are not safetensors.

    Attributes:
        context: Most tokens of a prompt and its continuation together.
        device: "cpu" or "cuda".
    """

    def __init__(self, folder: Path, *, device: str = "auto") -> None:
        import torch
        from transformers import AutoModelForCausalLM, GenerationConfig

        base = BaseModel(folder=folder, revision="", trust_remote_code=False)
        self._tokenizer = base.tokenizer()
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        # Most processors compute with 16 bits many times slower than with 32, above all when they read a prompt.
        dtype = torch.float32 if device == "cpu" else "auto"
        model, loading = base.load(AutoModelForCausalLM, output_loading_info=True, dtype=dtype)
        if loading["missing_keys"]:
            raise ModelError(f"{folder} lacks the weights {', '.join(sorted(loading['missing_keys']))}")
        self._model: Any = model.to(device).eval()
        self.device: str = self._model.device.type
        self._ends = _ends(model, self._tokenizer)
        added = self._tokenizer.added_tokens_decoder
        self._special = frozenset(token for token, content in added.items() if content.special)
        model.generation_config = GenerationConfig()
        self.context = min(_context(model.config), CONTEXT.get(self.device, CONTEXT["cuda"]))

    def prompt(self, item: Any) -> Prompt:
        """Makes a prompt of an input.

        Args:
            item: A text, or `{"messages": […]}` with the messages of a conversation, each with `role`
                and `content`, which the tokenizer's chat template makes a text of.

        Raises:
            ArgumentError: It is something else, too long, or the model has no chat template.
        """
        if isinstance(item, dict) and item.keys() == {"text"}:
            item = item["text"]
        if isinstance(item, str):
            text, ids = item, self._tokenizer(item)["input_ids"]
        elif isinstance(item, dict) and item.keys() == {"messages"}:
            text = chat.render(self._tokenizer, item["messages"])
            ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]  # the template wrote them
        else:
            raise ArgumentError("inputs", type(item).__name__, 'give a text, or {"messages": […]}')
        if not ids and self._tokenizer.bos_token_id is not None:
            ids = [self._tokenizer.bos_token_id]
        if not ids:
            raise ArgumentError("inputs", text, "give at least one character")
        if len(ids) >= self.context:
            fix = f"prompt and answer have at most {self.context} tokens together here: shorten it"
            raise ArgumentError("inputs", f"a prompt of {len(ids)} tokens", fix)
        return Prompt(text=text, ids=ids)

    def generate(
        self,
        prompt: Prompt,
        sampling: Sampling,
        *,
        emit: Callable[[Token], None],
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Generates tokens until the model ends, a stop text comes or there are enough.

        Args:
            prompt: From `prompt`.
            sampling: How tokens are chosen, and how many.
            emit: Is given each token as soon as it is there; the last one has a `finish_reason`.
            stopped: Is asked after each token whether it shall be the last one.

        Raises:
            ModelError: The model gives numbers that are not finite.
        """
        import torch
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        room = self.context - len(prompt.ids)
        sampling = dataclasses.replace(sampling, max_new_tokens=min(sampling.max_new_tokens, room))
        text = IncrementalText(self._tokenizer, self._special, prompt.ids, sampling.stop)
        run = _Run(text, self._ends, self._special, sampling, emit, stopped)
        ids = torch.tensor([prompt.ids], device=self._model.device)
        config = GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=False,  # `choose` draws, with a random generator of the request's own
            repetition_penalty=float(sampling.repetition_penalty),
        )
        with torch.inference_mode():
            self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                generation_config=config,
                logits_processor=LogitsProcessorList([run.choose]),
                stopping_criteria=StoppingCriteriaList([run.is_over]),
            )

    def respond(self, inputs: Sequence[Any], parameters: Mapping[str, Any] | None = None) -> list[Any]:
        """A response for each input, in the shape of the Hub's specification of text generation.

        Raises:
            ArgumentError: An input or a parameter cannot be used.
        """
        sampling = Sampling.parse(parameters or {})
        responses = []
        for prompt in [self.prompt(item) for item in inputs]:
            tokens: list[Token] = []
            self.generate(prompt, sampling, emit=tokens.append)
            responses.append(response(prompt, tokens, sampling))
        return responses


def response(prompt: Prompt, tokens: Sequence[Token], sampling: Sampling) -> dict[str, Any]:
    """The response to one input, in the shape of the Hub's specification of text generation."""
    text = "".join(token.text for token in tokens)
    found: dict[str, Any] = {"generated_text": prompt.text + text if sampling.return_full_text else text}
    if sampling.details:
        shown = [_token(token) for token in tokens]
        found["details"] = {**_details(prompt, tokens, sampling), "prefill": [], "tokens": shown}
    return found


def part(prompt: Prompt, tokens: Sequence[Token], sampling: Sampling) -> dict[str, Any]:
    """The part of a streamed response for the last of the tokens there are, in the shape of the Hub's specification."""
    found = {"index": len(tokens), "token": _token(tokens[-1]), "generated_text": None, "details": None}
    if tokens[-1].finish_reason:
        found["generated_text"] = response(prompt, tokens, sampling)["generated_text"]
        found["details"] = _details(prompt, tokens, sampling)
    return found


def _token(token: Token) -> dict[str, Any]:
    return {"id": token.id, "text": token.text, "logprob": token.logprob, "special": token.special}


def _details(prompt: Prompt, tokens: Sequence[Token], sampling: Sampling) -> dict[str, Any]:
    return {
        "finish_reason": tokens[-1].finish_reason,
        "generated_tokens": len(tokens),
        "input_length": len(prompt.ids),
        "seed": sampling.seed,
    }


class _Run:
    """One generation: chooses each token, makes text of it, and says when it is over."""

    def __init__(
        self,
        text: IncrementalText,
        ends: frozenset[int],
        special: frozenset[int],
        sampling: Sampling,
        emit: Callable[[Token], None],
        stopped: Callable[[], bool],
    ) -> None:
        self._text = text
        self._ends = ends
        self._special = special
        self._sampling = sampling
        self._emit = emit
        self._stopped = stopped
        self._count = 0
        self._logprob = 0.0
        self._warpers = _warpers(sampling) if sampling.draws else []
        self._random = _random(sampling.seed) if sampling.draws else None

    def choose(self, input_ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        """Scores, shape `(1, vocabulary)`, that leave no other token than the one that is chosen."""
        import torch

        if not torch.isfinite(scores.max()):  # some models rule tokens out by minus infinity
            raise ModelError("the model gives numbers that are not finite: its training diverged, or it overflows")
        logprobs = scores.log_softmax(-1)
        if self._random is None:
            chosen = int(scores.argmax())
        else:
            for warper in self._warpers:
                scores = warper(input_ids, scores)
            chosen = int(torch.multinomial(scores.softmax(-1).cpu(), 1, generator=self._random))
        self._logprob = float(logprobs[0, chosen])
        only = torch.full_like(scores, -torch.inf)
        only[0, chosen] = 0.0
        return only

    def is_over(self, input_ids: "torch.Tensor", scores: Any) -> "torch.Tensor":
        """Whether the token that came last is the last one, shape `(1,)`; tells of it."""
        import torch

        token = int(input_ids[0, -1])
        self._count += 1
        ends = token in self._ends
        text = "" if ends else self._text.add(token)
        reason = ""
        if self._text.stopped:
            reason = "stop_sequence"
        elif ends:
            reason = "eos_token"
        elif self._count >= self._sampling.max_new_tokens or self._stopped():
            reason = "length"
        if reason:
            text += self._text.rest()
        special = not text and (ends or token in self._special)
        self._emit(Token(id=token, text=text, logprob=self._logprob, special=special, finish_reason=reason))
        return torch.tensor([bool(reason)], device=input_ids.device)


def _warpers(sampling: Sampling) -> list[Any]:
    """What changes the scores before a token is drawn."""
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    warpers: list[Any] = []
    if sampling.temperature is not None:
        warpers.append(TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_k is not None:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p is not None:
        warpers.append(TopPLogitsWarper(float(sampling.top_p)))
    return warpers


def _random(seed: int | None) -> "torch.Generator":
    import torch

    random = torch.Generator()
    if seed is None:
        random.seed()
    else:
        random.manual_seed(seed)
    return random


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """Ids of the tokens that end a text, as the model's configuration and its tokenizer name them."""
    named = model.generation_config.eos_token_id
    ids = named if isinstance(named, list) else [named]
    return frozenset(token for token in [*ids, tokenizer.eos_token_id] if token is not None)


def _context(config: Any) -> int:
    """Positions of a model; without a number, all that `CONTEXT` allows."""
    config = config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None) or max(CONTEXT.values())
    rope = getattr(config, "rope_parameters", None) or {}
    if any(kind in str(rope) for kind in ("'dynamic'", "'longrope'")):
        # Beyond its first length such a model changes what generations that run at once share.
        positions = min(positions, rope.get("original_max_position_embeddings") or positions)
    return int(positions)
