"""Inputs that need no memory, in both languages: small talk and sums. The first half of each list is for fitting, the second
for reporting.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

_SMALL_TALK = {
    "en": (
        "Hello, how are you?", "Thank you!", "Good morning!", "What is your name?", "Tell me a joke.",
        "You are very kind.", "See you tomorrow!", "I am bored.", "How old are you?", "Can you help me?",
        "That's great, thanks a lot.", "OK", "Good night!", "I like you.", "Are you a robot?",
        "Sorry, I did not get that.", "Nice to meet you.", "What's up?", "Never mind.", "Could you say that again?",
        "Hi there!", "Many thanks for your help.", "Good evening.", "Who are you?", "Sing me a song.",
        "You are wrong about that.", "Goodbye, take care!", "I feel tired today.", "Where do you live?", "Please be brief.",
        "Wonderful, that is all I wanted.", "Yes, please.", "Sleep well!", "Do you love me?", "Are you human?",
        "I don't understand you.", "How do you do?", "Long time no see.", "Forget it.", "Let's talk about something else.",
    ),
    "zh": (
        "你好！", "谢谢你！", "早上好", "你叫什么名字？", "给我讲个笑话吧。",
        "你真好。", "明天见！", "我好无聊。", "你几岁了？", "你能帮帮我吗？",
        "太好了，非常感谢。", "好的", "晚安！", "我喜欢你。", "你是机器人吗？",
        "对不起，我没听懂。", "很高兴认识你。", "最近怎么样？", "算了。", "请再说一遍好吗？",
        "嗨，在吗？", "多谢你的帮助。", "晚上好。", "你是谁？", "给我唱首歌吧。",
        "你说得不对。", "再见，保重！", "我今天有点累。", "你住在哪里？", "请简短一点。",
        "太棒了，我想知道的就这些。", "是的，谢谢。", "祝你做个好梦！", "你爱我吗？", "你是真人吗？",
        "我不明白你的意思。", "你好吗？", "好久不见。", "没关系。", "我们聊点别的吧。",
    ),
}  # fmt: skip
_SUMS = {"en": ("What is {} + {}?", "Compute {} times {}."), "zh": ("{}加{}等于多少？", "{}乘以{}是多少？")}


def inputs_without_need(language: str, half: int, data: Path) -> dict[str, list[str]]:
    """Small talk, sums, and 100 everyday statements of Tatoeba (CC BY 2.0 FR, tatoeba.org), by kind."""
    talk, rng = _SMALL_TALK[language], np.random.default_rng(half)
    sums = [form.format(*rng.integers(2, 100, 2)) for form in _SUMS[language] for _ in range(10)]
    lines = (data / "tatoeba_cmn_eng" / "cmn.txt").read_text(encoding="utf-8").splitlines()
    said = [line.split("\t")[language == "zh"] for line in lines[half::2]]
    statements = sorted({one for one in said if not one.endswith(("?", "？"))})
    return {
        "small talk": list(talk[len(talk) // 2 * half :][: len(talk) // 2]),
        "sums": sums,
        "statements": [statements[place] for place in rng.permutation(len(statements))[:100]],
    }
