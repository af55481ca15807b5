import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from hfpc.errors import ArgumentError, ModelError
from hfpc.inference.generator import Generator
from hfpc.inference.incremental_text import IncrementalText
from hfpc.inference.sampling import Sampling
from tests.language_models import CHATS, POSITIONS, SENTENCES, save_language_model

HOT = {"temperature": 1.5, "max_new_tokens": 30}


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return save_language_model(tmp_path_factory.mktemp("gpt2"), "gpt2")


@pytest.fixture(scope="module")
def generator(language_model):
    return Generator(language_model)


@pytest.fixture(scope="module")
def endless(endless_model):
    return Generator(endless_model)


def text(generator, item, **parameters) -> str:
    return generator.respond([item], parameters)[0]["generated_text"]


def chat(*contents) -> dict:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[index % 2], "content": content} for index, content in enumerate(contents)]}


def tokens(generator, item, **parameters):
    made = []
    generator.generate(generator.prompt(item), Sampling.parse(parameters), emit=made.append)
    return made


@pytest.mark.parametrize("kind", ["language_model", "gpt2"])
def test_texts_are_those_of_the_transformers_pipeline(request, kind):
    from transformers import pipeline

    folder = request.getfixturevalue(kind)
    ours, peer = Generator(folder), pipeline("text-generation", model=str(folder), device="cpu")
    prompts = ["the quick", "one two three", "une", "a", "lazy dog. the", "🏖"]
    for prompt in prompts:
        [theirs] = peer(prompt, max_new_tokens=40, do_sample=False)
        given = text(ours, prompt, max_new_tokens=40, return_full_text=True)
        assert given == theirs["generated_text"].rstrip("\ufffd")
    assert text(ours, "the quick") == SENTENCES[0].removeprefix("the quick")
    assert text(ours, "une") == SENTENCES[2].removeprefix("une")


def test_a_conversation_is_continued_by_the_models_template(generator):
    for asked, told in CHATS.items():
        assert text(generator, chat(asked)) == told
    assert generator.prompt(chat("hello", "hi", "bye")).text == (
        "<|user|>hello<|end|><|assistant|>hi<|end|><|user|>bye<|end|><|assistant|>"
    )
    parts = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]}]
    }
    assert text(generator, parts) == CHATS["hello"]


def test_a_model_without_a_template_says_so(gpt2):
    with pytest.raises(ArgumentError, match="no chat template"):
        Generator(gpt2).prompt(chat("hello"))


MESSAGES = [
    None,
    [],
    "hello",
    ["hello"],
    [{}],
    [{"role": "user"}],
    [{"role": 1, "content": "hello"}],
    [{"role": "user", "content": 1}],
    [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}],
    [{"role": "user", "content": "hello", "tool_calls": [{"id": "1"}]}],
    [{"role": "user", "content": "hello", "colour": "red"}],
    [{"role": "wizard", "content": "hello"}],
]


@pytest.mark.parametrize("messages", MESSAGES, ids=range(len(MESSAGES)))
def test_messages_that_cannot_be_used_are_named(generator, messages):
    with pytest.raises(ArgumentError, match="messages"):
        generator.prompt({"messages": messages})


def test_what_the_client_sends_back_of_an_answer_is_taken(generator):
    answer = {"role": "assistant", "content": "hi", "refusal": None, "tool_calls": None, "annotations": []}
    assert generator.prompt({"messages": [answer]}).text == "<|assistant|>hi<|end|><|assistant|>"


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].content + 1 }}",
        "{% for message in messages %}{{ message.none.none }}{% endfor %}",
        "{% if %}",
    ],
)
def test_a_template_that_fails_or_leaves_its_sandbox_is_refused(language_model, tmp_path, template):
    folder = shutil.copytree(language_model, tmp_path / "model")
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(ArgumentError, match="chat template refuses"):
        Generator(folder).prompt(chat("hello"))


@pytest.mark.parametrize("item", [1, None, ["a"], {}, {"text": 1}, {"text": "a", "messages": []}, {"words": "a"}, ""])
def test_inputs_that_cannot_be_used_are_named(generator, item):
    with pytest.raises(ArgumentError, match="inputs"):
        generator.prompt(item)


def test_a_prompt_that_is_too_long_is_refused_with_both_lengths(generator):
    assert generator.context == POSITIONS
    assert len(generator.prompt("a" * (POSITIONS - 1)).ids) == POSITIONS - 1
    with pytest.raises(ArgumentError, match=f"a prompt of {POSITIONS + 44} tokens.*at most {POSITIONS} tokens"):
        generator.prompt("a" * (POSITIONS + 44))


def test_a_text_ends_where_the_context_does(endless):
    prompt = "a" * (endless.context - 5)
    made = tokens(endless, prompt, max_new_tokens=100)
    assert len(made) == 5
    assert [token.finish_reason for token in made] == ["", "", "", "", "length"]


def test_why_it_ended_is_told(generator):
    def reason(**parameters):
        return generator.respond(["the quick"], {"details": True, **parameters})[0]["details"]["finish_reason"]

    assert reason() == "eos_token"
    assert reason(stop=["fox"]) == "stop_sequence"
    assert reason(max_new_tokens=2) == "length"


@pytest.mark.parametrize(
    ("stop", "left"),
    [
        (["lazy"], " brown fox jumps over the "),
        (["x jum"], " brown fo"),
        (["nothing", "over", "jumps"], " brown fox "),
        (["the lazy cat"], " brown fox jumps over the lazy dog."),
        (["dog.!"], " brown fox jumps over the lazy dog."),
        ([" "], ""),
    ],
)
def test_a_stop_text_ends_it_and_no_part_of_it_is_given_out(generator, stop, left):
    made = tokens(generator, "the quick", stop=stop)
    assert "".join(token.text for token in made) == left
    assert text(generator, "the quick", stop=stop) == left


def test_characters_of_several_tokens_come_whole(generator):
    pieces = [token.text for token in tokens(generator, "une")]
    assert "".join(pieces) == SENTENCES[2].removeprefix("une")
    assert not any("\ufffd" in piece for piece in pieces)
    assert any("🏖" in piece for piece in pieces) and pieces.count("") >= 3


def test_bytes_that_are_no_character_do_not_hold_the_text_back(language_model):
    tokenizer = Generator(language_model)._tokenizer
    [first, *_] = tokenizer("🏖")["input_ids"]
    found = IncrementalText(tokenizer, frozenset(), [])
    pieces = [found.add(first) for _ in range(20)]
    assert sum(len(piece) for piece in pieces) >= 16


@pytest.fixture(scope="module")
def words_with_spaces():
    """A tokenizer as those of Llama 2, Mistral and Gemma: a space is part of the word after it, but for the first."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    letters = "▁abcdeghilnoprstuwé"
    vocabulary = ["<s>", "</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters, "▁a", "▁▁", "▁b"]
    ids = {token: index for index, token in enumerate(vocabulary)}
    merges = [("▁", "a"), ("▁", "▁"), ("▁", "b")]
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", additional_special_tokens=[]
    )


@pytest.mark.parametrize("text", ["a b", "  a  b   a ", "un été 🏖 à la plage", "a", " ", "a🏖🏖b \n b"])
@pytest.mark.parametrize("between", [0, 1, 2])
def test_text_of_tokens_one_by_one_is_that_of_all_at_once(words_with_spaces, text, between):
    """Special tokens between the others, which a model may give anywhere, take no space away."""
    special = frozenset(words_with_spaces.convert_tokens_to_ids(["<s>", "</s>"]))
    plain = words_with_spaces(text, add_special_tokens=False)["input_ids"]
    ids = [token for each in plain for token in [each, *[0] * between]]
    for start in range(len(ids)):
        found = IncrementalText(words_with_spaces, special, ids[:start])
        pieces = [found.add(token) for token in ids[start:]]
        whole = words_with_spaces.decode(ids, skip_special_tokens=True)
        if start == 0:
            assert "".join([*pieces, found.rest()]) == whole
        elif "\ufffd" not in words_with_spaces.decode(ids[:start], skip_special_tokens=True):
            assert whole.endswith("".join([*pieces, found.rest()]))


def test_the_likeliest_token_is_taken_unless_drawing_is_asked_for(generator):
    expected = text(generator, "a")
    for parameters in ({"temperature": 0}, {"do_sample": False, "temperature": 1.5}, {"top_k": 1}, {"seed": 7}):
        assert text(generator, "a", **parameters) == expected
    assert len({text(generator, "a", **HOT) for _ in range(4)}) > 1
    assert len({text(generator, "a", do_sample=True, top_p=1e-9, seed=seed) for seed in range(4)}) == 1


def test_a_seed_repeats_a_text_whatever_else_is_generated(generator):
    expected = [text(generator, "a", seed=seed, **HOT) for seed in range(6)]
    assert len(set(expected)) > 3
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(lambda seed: text(generator, "a", seed=seed, **HOT), range(6)))
    assert together == expected


def test_generations_at_once_give_what_each_gives_alone(generator):
    prompts = ["the quick", "one two", "une", "hello", "a", "b"] * 3
    alone = [text(generator, prompt) for prompt in prompts]
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(lambda prompt: text(generator, prompt), prompts)) == alone


def test_probabilities_are_the_models(generator, language_model):
    import torch
    from transformers import AutoModelForCausalLM

    prompt = generator.prompt("the quick")
    made = tokens(generator, "the quick", temperature=2, seed=3, max_new_tokens=8)
    ids = torch.tensor([prompt.ids + [token.id for token in made]])
    with torch.inference_mode():
        logprobs = AutoModelForCausalLM.from_pretrained(language_model)(ids).logits[0].log_softmax(-1)
    for place, token in enumerate(made, len(prompt.ids)):
        assert token.logprob == pytest.approx(float(logprobs[place - 1, token.id]), abs=1e-4)


def test_a_repetition_penalty_changes_the_text(endless):
    parameters = {"max_new_tokens": 60}
    plain = [token.id for token in tokens(endless, "a", **parameters)]
    penalised = [token.id for token in tokens(endless, "a", repetition_penalty=10, **parameters)]
    assert len(set(penalised)) > len(set(plain))


def test_it_ends_when_it_is_told_to(endless):
    made = []
    endless.generate(
        endless.prompt("a"), Sampling(max_new_tokens=1000), emit=made.append, stopped=lambda: len(made) >= 9
    )
    assert len(made) == 10
    assert made[-1].finish_reason == "length"


def test_details_are_those_of_the_hubs_specification(generator):
    from huggingface_hub import TextGenerationOutput

    [given] = generator.respond(["the quick"], {"details": True, "seed": 5})
    parsed = TextGenerationOutput.parse_obj_as_instance(given)
    details = parsed.details
    assert details.generated_tokens == len(details.tokens) and details.seed == 5
    assert "".join(token.text for token in details.tokens) == parsed.generated_text
    assert [token.special for token in details.tokens][-2:] == [False, True]
    assert details.input_length == len(generator.prompt("the quick").ids)


BAD = [
    ("max_new_tokens", [0, -1, 1.5, "1", True, [], {}]),
    ("temperature", [-0.1, 2.1, "1", True, [], float("nan")]),
    ("top_k", [0, -1, 0.5, "1", True]),
    ("top_p", [0, -0.1, 1.1, "1", True]),
    ("repetition_penalty", [0, -1, 1e-30, 11, "1", True]),
    ("seed", [0.5, "1", True, 2**63, -(2**63) - 1]),
    ("stop", ["a", [""], [1], ["a"] * 17, ["a" * 257], {}, 1]),
    ("do_sample", [0, "true", []]),
    ("return_full_text", [0, "true", []]),
    ("details", [0, "true", []]),
    ("best_of", [2, True]),
    ("watermark", [True, 0]),
    ("temperatur", [1]),
    ("typical_p", [0.5]),
]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD for value in values])
def test_parameters_that_cannot_be_used_are_named(name, value):
    with pytest.raises(ArgumentError, match=name):
        Sampling.parse({name: value})


def test_parameters_that_ask_for_nothing_are_taken():
    nothing = {"best_of": 1, "watermark": False, "decoder_input_details": False, "typical_p": None, "seed": None}
    assert Sampling.parse(nothing) == Sampling()


@pytest.mark.parametrize("value", [1e-300, 0.01, 2])
def test_extreme_temperatures_give_text(generator, value):
    assert tokens(generator, "a", temperature=value, max_new_tokens=5)


def test_sampling_settings_in_the_folder_are_not_used(language_model, tmp_path):
    folder = shutil.copytree(language_model, tmp_path / "model")
    settings = json.loads((folder / "generation_config.json").read_text())
    settings |= {"do_sample": True, "temperature": 2.0, "num_beams": 3, "max_new_tokens": 1, "repetition_penalty": 5.0}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    assert text(Generator(folder), "the quick") == SENTENCES[0].removeprefix("the quick")


def test_every_token_that_the_configuration_names_ends_it(language_model, tmp_path):
    folder = shutil.copytree(language_model, tmp_path / "model")
    settings = json.loads((folder / "generation_config.json").read_text())
    fox = Generator(folder).prompt(" fox").ids
    assert len(fox) == 1
    (folder / "generation_config.json").write_text(json.dumps({**settings, "eos_token_id": fox}))
    assert text(Generator(folder), "the quick") == " brown"
    assert text(Generator(folder), "one two") == SENTENCES[1].removeprefix("one two")


def test_weights_that_are_missing_pickled_or_broken_are_refused(language_model, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(language_model, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    norm = "model.norm.weight"
    save_file(
        {name: value for name, value in weights.items() if name != norm}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(ModelError, match=f"lacks the weights {norm}"):
        Generator(folder)
    save_file({**weights, norm: weights[norm] * float("nan")}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="not finite"):
        text(Generator(folder), "a")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="only pickle weights"):
        Generator(folder)
