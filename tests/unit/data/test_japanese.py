"""Japanese text: what is normalised, what stays byte for byte, and where sentences end."""

from __future__ import annotations

import pytest

from tunesmith.data.japanese import main_language, normalize_text, script_shares, split_sentences, width_problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ﾃﾞｰﾀﾍﾞｰｽ", "データベース"), ("ＡＢＣ１２３", "ABC123"), ("東京　大阪", "東京 大阪"), ("㍿と㌔とⅣ", "株式会社とキロとIV"),
        ("そうですか？（はい！）", "そうですか？（はい！）"), ("Ｗｈａｔ？", "What?"), ("　段落の初め", "　段落の初め"),
        ("m² と H₂O と ①", "m² と H₂O と ①"),
        ("次の行\n  ＡＢ\n\n\n終わり", "次の行\n  AB\n\n\n終わり"),
        ("`ｶﾅ = \"ＡＢＣ\"` は ＡＢＣ", "`ｶﾅ = \"ＡＢＣ\"` は ABC"),
        ("```py\nx = 'ﾃｽﾄ'\n　y = 1\n```\nﾃｽﾄ", "```py\nx = 'ﾃｽﾄ'\n　y = 1\n```\nテスト"),
        ("```\n閉じないＡ", "```\n閉じないＡ"),
        ("https://example.com/ＡＢ を見る", "https://example.com/AB を見る"),
        ("plain ASCII text stays\t as it is ", "plain ASCII text stays\t as it is "),
    ],
)  # fmt: skip
def test_normalisation(text: str, expected: str) -> None:
    assert normalize_text(text) == expected
    assert normalize_text(expected) == expected
    assert text.count("\n") == expected.count("\n")


def test_script_shares() -> None:
    assert script_shares("ひらカタ漢字ab") == {"hiragana": 0.25, "katakana": 0.25, "kanji": 0.25, "latin": 0.25}
    assert script_shares("123 !?") == {"digits": 1.0}
    assert script_shares("。、") == {}


@pytest.mark.parametrize(
    ("text", "language"),
    [("これは本です", "ja"), ("这是一本书", "zh"), ("이것은 책입니다", "ko"), ("Это книга", "ru"), ("This is a book", "latin"), ("42", "")],
)
def test_language_by_script(text: str, language: str) -> None:
    assert main_language(text) == language


def test_width_problems_outside_of_code() -> None:
    assert width_problems("ﾃｽﾄ ＡＢＣ") == ["half_width_kana", "full_width_letters"]
    assert width_problems("テスト ABC（全角の括弧）") == []
    assert width_problems("`ﾃｽﾄ` と https://example.com/") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("今日は晴れ。明日は雨？はい！", ["今日は晴れ。", "明日は雨？", "はい！"]),
        ("彼は「行くよ。待って。」と言った。次です。", ["彼は「行くよ。待って。」と言った。", "次です。"]),
        ("「はい。」「いいえ。」", ["「はい。」", "「いいえ。」"]),
        ("本当！？そうです", ["本当！？", "そうです"]),
        ("One. Two 3.5 items! Yes", ["One.", "Two 3.5 items!", "Yes"]),
        ("一行目\n二行目「開いたまま\n三行目。", ["一行目", "二行目「開いたまま", "三行目。"]),
        ("", []),
    ],
)  # fmt: skip
def test_sentences(text: str, expected: list[str]) -> None:
    assert split_sentences(text) == expected
