from hfpc.errors import ArgumentError, DataError
from hfpc.redaction import redacted


def test_parameters_named_like_a_secret():
    given = {"api_token": "abc", "hf_token": "", "password": "x", "name": "abc", "max_tokens": 3, "tokenizer": "bert"}
    masked = {**given, "api_token": "***", "password": "***"}
    assert redacted(given) == masked
    assert redacted({"options": {"secret": "x", "list": ["s3://a"]}}) == {
        "options": {"secret": "***", "list": ["s3://a"]}
    }


def test_secrets_in_urls():
    assert redacted("https://me:pass@host/x and s3://bucket/x") == "https://***@host/x and s3://bucket/x"
    assert redacted("abfs://container@account.dfs.core.windows.net/x").startswith("abfs://container@account")
    assert redacted("https://h/x?sv=1&sig=abc%3D&x=1") == "https://h/x?sv=1&sig=***&x=1"
    assert redacted("s='https://h/x?X-Amz-Signature=abc': no") == "s='https://h/x?X-Amz-Signature=***': no"
    assert redacted("https://h/x?X-Amz-Security-Token=a/b&page=1") == "https://h/x?X-Amz-Security-Token=***&page=1"
    assert redacted("https://h/x?AWSAccessKeyId=abc&monkey=1") == "https://h/x?AWSAccessKeyId=***&monkey=1"


def test_errors_mask_secrets():
    error = ArgumentError("source", "https://me:canary@host/x", "GET https://host/x?sig=canary failed")
    assert str(error) == "source='https://***@host/x': GET https://host/x?sig=*** failed"
    assert str(DataError("https://host/x?sig=canary is empty")) == "https://host/x?sig=*** is empty"


def test_values_of_secret_environment_variables(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    monkeypatch.setenv("SOME_PATH", "/a/long/path")
    assert redacted("401 for hf_0123456789 at /a/long/path") == "401 for *** at /a/long/path"


def test_the_path_of_a_key_file_is_shown(monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/keys/mine.json")
    error = ArgumentError("GOOGLE_APPLICATION_CREDENTIALS", "/keys/mine.json", "/keys/mine.json is no key")
    assert str(error) == "GOOGLE_APPLICATION_CREDENTIALS='/keys/mine.json': /keys/mine.json is no key"
    assert "key-material" not in str(ArgumentError("AWS_CREDENTIALS", "key-material", "give others"))


def test_an_error_shows_the_first_items_of_what_is_long_and_says_that_there_are_more():
    message = str(ArgumentError("top_k", ["a"] * 100_000, "give a number"))
    assert message == f"top_k={['a'] * 20 + ['…']}: give a number"
    message = str(ArgumentError("text", "a" * 100_000, "give less"))
    assert len(message) < 1100 and message.endswith("…: give less")
